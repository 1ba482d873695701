using System.Diagnostics;
using System.IO.Compression;
using System.Xml.Linq;
using LoraNotebooks.Kernel.Sessions;

namespace LoraNotebooks.Kernel.Tests;

/// <summary>What is in the packages, packed from what this test run has built.</summary>
public sealed class PackagingTests
{
    private const long MostBytes = 20_000_000;

    [Fact]
    public void Pack_Library_HoldsTheModelsOnceAndNoLibTorch()
    {
        using var package = Pack("LoraNotebooks");
        var files = package.Files();
        Assert.Single(files, file => file.EndsWith("unet/diffusion_pytorch_model.safetensors", StringComparison.Ordinal));
        Assert.Contains("Assets/avatar-diffusion/model_index.json", files);
        Assert.Contains("Assets/tag-classifier/config.json", files);
        Assert.Contains("buildTransitive/LoraNotebooks.targets", files);
        Assert.Contains("buildTransitive/RegisterNatives.cs", files);
        Assert.Contains("lib/net10.0/LoraNotebooks.dll", files);
        Assert.Contains("README.md", files);
        Assert.DoesNotContain(files, file => file.Contains("torch_cpu", StringComparison.OrdinalIgnoreCase));
        Assert.InRange(package.Length, 1, MostBytes);

        var metadata = package.Metadata();
        Assert.Equal("LoraNotebooks", metadata["id"]);
        Assert.NotEmpty(metadata["description"]);
        Assert.NotEmpty(metadata["authors"]);
        Assert.Equal("MIT", metadata["license"]);
        Assert.Contains("TorchSharp", package.Dependencies());
        Assert.DoesNotContain(package.Dependencies(), id => id.StartsWith("libtorch", StringComparison.OrdinalIgnoreCase));
    }

    [Fact]
    public void Pack_Interactive_HoldsTheStartUpScriptAndNoReferenceToDotNetInteractive()
    {
        using var package = Pack("LoraNotebooks.Interactive");
        Assert.Equal(
            File.ReadAllText(Path.Combine(Root, "src", "LoraNotebooks.Interactive", "interactive-extensions", "dotnet", "extension.dib")),
            package.Text("interactive-extensions/dotnet/extension.dib"));
        Assert.Contains("LoraNotebooks", package.Dependencies());
        Assert.DoesNotContain(package.Dependencies(), id => id.StartsWith("Microsoft.DotNet.Interactive", StringComparison.OrdinalIgnoreCase));
    }

    [Fact]
    public void Tool_Project_IsPackedUnderItsCommandsName()
    {
        // Packing the tool takes as long as a build; what is special about it stands in its project.
        var project = XDocument.Load(Path.Combine(Root, "src", "LoraNotebooks.Kernel", "LoraNotebooks.Kernel.csproj"));
        Assert.Equal(
            ["true", "lora-notebooks", "lora-notebooks"],
            new[] { "PackAsTool", "PackageId", "ToolCommandName" }.Select(name => project.Descendants(name).Single().Value));
    }

    private static string Root
    {
        get
        {
            var folder = new DirectoryInfo(AppContext.BaseDirectory);
            while (!File.Exists(Path.Combine(folder.FullName, "LoraNotebooks.sln")))
            {
                folder = folder.Parent ?? throw new DirectoryNotFoundException($"No LoraNotebooks.sln above {AppContext.BaseDirectory}.");
            }

            return folder.FullName;
        }
    }

    private static Package Pack(string project)
    {
        var folder = new TemporaryFolder();
        var configuration = new DirectoryInfo(AppContext.BaseDirectory).Parent!.Name;
        var start = new ProcessStartInfo(
            DotnetHost.Path,
            ["pack", Path.Combine(Root, "src", project), "--no-build", "-c", configuration, "-o", folder.Path, "-nologo", "-nodeReuse:false"])
        {
            RedirectStandardOutput = true,
        };
        DotnetHost.CleanEnvironment(start);
        using var process = Process.Start(start)!;
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, output);
        return new Package(folder, Assert.Single(Directory.GetFiles(folder.Path, "*.nupkg")));
    }

    private sealed class Package(TemporaryFolder folder, string path) : IDisposable
    {
        private readonly ZipArchive _zip = ZipFile.OpenRead(path);

        public long Length { get; } = new FileInfo(path).Length;

        public IReadOnlyList<string> Files() => [.. _zip.Entries.Select(entry => entry.FullName)];

        public string Text(string file)
        {
            using var reader = new StreamReader(_zip.GetEntry(file)!.Open());
            return reader.ReadToEnd();
        }

        public IReadOnlyDictionary<string, string> Metadata() =>
            Nuspec().Elements().Where(e => !e.HasElements).DistinctBy(e => e.Name.LocalName).ToDictionary(e => e.Name.LocalName, e => e.Value);

        public IReadOnlyList<string> Dependencies() =>
            [.. Nuspec().Descendants().Where(e => e.Name.LocalName == "dependency").Select(e => e.Attribute("id")!.Value)];

        public void Dispose()
        {
            _zip.Dispose();
            folder.Dispose();
        }

        private XElement Nuspec() =>
            XDocument.Parse(Text(Files().Single(file => file.EndsWith(".nuspec", StringComparison.Ordinal)))).Root!.Elements().Single();
    }
}
