using System.Text.Json.Nodes;
using LoraNotebooks.Kernel.Jupyter;

namespace LoraNotebooks.Kernel.Tests.Jupyter;

public sealed class KernelSpecTests : IDisposable
{
    private readonly TemporaryFolder _data = new();

    public void Dispose() => _data.Dispose();

    [Fact]
    public void Install_EmptyFolder_WritesWhatJupyterAndPagesLookFor()
    {
        var folder = KernelSpec.Install(_data.Path);

        Assert.Equal(_data.File("kernels/lora-notebooks"), folder);
        string[] expected =
        [
            "kernel.json", "logo-32x32.png", "logo-64x64.png", "logo-svg.svg", "plotly-LICENSE.txt", "plotly.min.js", "plotly.min.js.LICENSE.txt",
        ];
        Assert.Equal(expected, Directory.GetFiles(folder).Select(path => Path.GetFileName(path)).Order(StringComparer.Ordinal));
        var description = JsonNode.Parse(File.ReadAllText(Path.Combine(folder, "kernel.json")))!;
        Assert.Equal("message", (string?)description["interrupt_mode"]);
        Assert.Equal("C#", (string?)description["language"]);
        var argv = description["argv"]!.AsArray().Select(part => (string)part!).ToArray();
        Assert.Equal(["kernel", "start", "{connection_file}"], argv[^3..]);
        Assert.All(argv[..^3], part => Assert.True(Path.IsPathFullyQualified(part) ? File.Exists(part) : part == "dotnet", part));
    }

    [Fact]
    public void Install_OlderOneInPlace_ReplacesAllOfIt()
    {
        var folder = KernelSpec.Install(_data.Path);
        File.WriteAllText(Path.Combine(folder, "left-over.txt"), "");
        File.WriteAllText(Path.Combine(folder, "kernel.json"), "{}");

        KernelSpec.Install(_data.Path);

        Assert.False(File.Exists(Path.Combine(folder, "left-over.txt")));
        Assert.Contains("argv", File.ReadAllText(Path.Combine(folder, "kernel.json")), StringComparison.Ordinal);
        Assert.Equal([_data.File("kernels")], Directory.GetFileSystemEntries(_data.Path));
        Assert.Equal([folder], Directory.GetFileSystemEntries(_data.File("kernels")));
    }

    [Fact]
    public void Install_PlaceIsAFile_LeavesNothingBehind()
    {
        _data.Write("kernels", "not a folder");
        Assert.ThrowsAny<IOException>(() => KernelSpec.Install(_data.Path));
        Assert.Equal([_data.File("kernels")], Directory.GetFileSystemEntries(_data.Path));
    }

    [Theory]
    [InlineData("")]
    [InlineData("a b")]
    [InlineData("../other")]
    [InlineData(".hidden")]
    public void Install_NameThatJupyterRefuses_IsRefused(string name)
    {
        var error = Assert.Throws<ArgumentException>(() => KernelSpec.Install(_data.Path, name));
        Assert.Contains(name, error.Message, StringComparison.Ordinal);
        Assert.Empty(Directory.GetFileSystemEntries(_data.Path));
    }

    [Fact]
    public void Uninstall_Installed_RemovesIt()
    {
        var folder = KernelSpec.Install(_data.Path, "mine");
        Assert.Equal(folder, KernelSpec.Uninstall(_data.Path, "mine"));
        Assert.False(Directory.Exists(folder));
        Assert.Null(KernelSpec.Uninstall(_data.Path, "mine"));
    }

    [Theory]
    [InlineData(PlatformID.Unix, "", "/home/ada/.local/share/jupyter")]
    [InlineData(PlatformID.Unix, "XDG_DATA_HOME=/data", "/data/jupyter")]
    [InlineData(PlatformID.Unix, "XDG_DATA_HOME=/data JUPYTER_DATA_DIR=/own", "/own")]
    [InlineData(PlatformID.MacOSX, "", "/home/ada/Library/Jupyter")]
    [InlineData(PlatformID.MacOSX, "JUPYTER_PLATFORM_DIRS=1", "/home/ada/Library/Application Support/Jupyter")]
    [InlineData(PlatformID.MacOSX, "JUPYTER_PLATFORM_DIRS=0", "/home/ada/Library/Jupyter")]
    [InlineData(PlatformID.Win32NT, "APPDATA=/roaming", "/roaming/jupyter")]
    [InlineData(PlatformID.Win32NT, "JUPYTER_PLATFORM_DIRS=1 LOCALAPPDATA=/local", "/local/Jupyter")]
    public void UserData_PlatformAndVariables_IsJupytersFolder(PlatformID platform, string variables, string expected)
    {
        var values = variables.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(pair => pair.Split('=')).ToDictionary(pair => pair[0], pair => pair[1]);
        Assert.Equal(expected, JupyterPaths.UserData(values.GetValueOrDefault, platform, "/home/ada").Replace('\\', '/'));
    }
}
