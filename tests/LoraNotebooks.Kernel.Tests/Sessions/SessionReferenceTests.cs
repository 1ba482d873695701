using System.IO.Compression;
using LoraNotebooks.Kernel.Sessions;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;

namespace LoraNotebooks.Kernel.Tests.Sessions;

/// <summary>What cells bring in: packages, their sources, assemblies, files of C#.</summary>
public sealed class SessionReferenceTests : SessionRunning
{
    [Fact]
    public async Task RunAsync_Load_BringsTheFilesDeclarations()
    {
        Folder.Write("helper.csx", "int Twice(int n) => 2 * n;");
        Assert.Equal(8, await ValueAsync("#load \"helper.csx\"\nTwice(4)"));
    }

    [Fact]
    public async Task RunAsync_PackageReference_IsRestoredCompiledAndLoaded()
    {
        Assert.Equal("Some long name", await ValueAsync("#r \"nuget: Humanizer.Core, 2.14.1\"\nusing Humanizer;\n\"SomeLongName\".Humanize()"));
        Assert.Equal("three", await ValueAsync("3.ToWords()"));
    }

    [Fact]
    public async Task RunAsync_PackageThatTheApplicationBrings_NeedsNoRestore()
    {
        Assert.Equal(2L, await ValueAsync("#r \"nuget: TorchSharp, 0.100.0\"\ntorch.ones(2).numel()"));
    }

    [Fact]
    public async Task RunAsync_UnreadablePackageReference_SaysHowToWriteIt()
    {
        var result = await RunAsync("#r \"nuget: not a name!\"\n1");
        Assert.Equal(CellStatus.CompileError, result.Status);
        Assert.Contains("Write #r \"nuget: Name, version\"", result.Error!.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task RunAsync_FileReference_LoadsTheAssembly()
    {
        await File.WriteAllBytesAsync(Folder.File("Neighbour.dll"), House("Neighbour"));
        Assert.Equal(12, await ValueAsync("#r \"Neighbour.dll\"\nNeighbour.House.Number"));
    }

    [Fact]
    public async Task RunAsync_MissingFileReference_IsACompileErrorThatNamesIt()
    {
        var result = await RunAsync("#r \"missing.dll\"\n1");
        Assert.Equal(CellStatus.CompileError, result.Status);
        Assert.Contains("missing.dll", result.Error!.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task RunAsync_PackageSourceThatIsAFolder_IsUsed()
    {
        var before = Environment.GetEnvironmentVariable("NUGET_PACKAGES");
        Environment.SetEnvironmentVariable("NUGET_PACKAGES", Folder.File("packages"));
        try
        {
            Directory.CreateDirectory(Folder.File("feed"));
            await using (var package = await ZipFile.OpenAsync(Folder.File("feed/Local.House.1.2.3.nupkg"), ZipArchiveMode.Create))
            {
                Put(
                    package,
                    "Local.House.nuspec",
                    "<package><metadata><id>Local.House</id><version>1.2.3</version><authors>a</authors><description>d</description></metadata></package>"u8
                        .ToArray());
                Put(package, "lib/net10.0/Local.House.dll", House("Local.House"));
            }

            Assert.Equal(12, await ValueAsync("#i \"nuget: feed\"\n#r \"nuget: Local.House, 1.2.3\"\nNeighbour.House.Number"));
        }
        finally
        {
            Environment.SetEnvironmentVariable("NUGET_PACKAGES", before);
        }

        static void Put(ZipArchive package, string name, byte[] content)
        {
            using var entry = package.CreateEntry(name).Open();
            entry.Write(content);
        }
    }

    [Fact]
    public async Task RunAsync_PackageSourceThatCannotBeUsed_SaysWhatWasExpected()
    {
        Assert.Contains("no folder", (await RunAsync("#i \"nuget: nowhere\"")).Error!.Message, StringComparison.Ordinal);
        Assert.Contains("Write #i \"nuget:", (await RunAsync("#i nowhere")).Error!.Message, StringComparison.Ordinal);
    }

    private static byte[] House(string assembly)
    {
        var compilation = CSharpCompilation.Create(
            assembly,
            [CSharpSyntaxTree.ParseText("namespace Neighbour; public static class House { public static int Number => 12; }")],
            [MetadataReference.CreateFromFile(typeof(object).Assembly.Location)],
            new(OutputKind.DynamicallyLinkedLibrary));
        using var file = new MemoryStream();
        Assert.True(compilation.Emit(file).Success);
        return file.ToArray();
    }
}
