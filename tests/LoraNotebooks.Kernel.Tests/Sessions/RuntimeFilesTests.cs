using LoraNotebooks.Kernel.Sessions;

namespace LoraNotebooks.Kernel.Tests.Sessions;

public sealed class RuntimeFilesTests
{
    [Fact]
    public void Gather_NativesOfSeveralPackages_StandsThemSideBySideWithoutACopy()
    {
        using var packages = new TemporaryFolder();
        string[] paths = [.. new[] { "one", "two" }.Select(name =>
        {
            Directory.CreateDirectory(packages.File(name));
            return packages.Write($"{name}/lib{name}.so", name);
        })];

        var gathered = RuntimeFiles.Gather(paths);

        if (!OperatingSystem.IsWindows())
        {
            Assert.Single(gathered.Select(Path.GetDirectoryName).Distinct());
            Assert.Equal(paths, gathered.Select(path => new FileInfo(path).LinkTarget));
        }

        Assert.Equal(["one", "two"], gathered.Select(File.ReadAllText));
        Assert.Equal(gathered, RuntimeFiles.Gather(paths));
    }
}
