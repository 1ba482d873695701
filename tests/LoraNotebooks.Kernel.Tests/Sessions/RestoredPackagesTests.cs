using System.Runtime.InteropServices;
using System.Xml.Linq;
using LoraNotebooks.Kernel.Sessions;

namespace LoraNotebooks.Kernel.Tests.Sessions;

/// <summary>What is asked of NuGet, and how its answer is read.</summary>
public sealed class RestoredPackagesTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void ReadAssets_Files_AreThoseOfTheTargetOfThisSystem()
    {
        var one = File("one/1.0/lib/One.dll");
        var extra = File("one/1.0/lib/Extra.DLL");
        var native = File("two/2.0/native/libtwo.so");
        var reference = File("two/2.0/ref/Two.dll");
        var restored = PackageRestorer.ReadAssets(Assets("""
            "One/1.0": { "compile": { "lib/One.dll": {}, "lib/_._": {}, "lib/One.xml": {} }, "runtime": { "lib/One.dll": {}, "lib/Extra.DLL": {} }, "dependencies": { "Two": "[3.0, )", "None": "1.0" } },
            "Two/2.0": { "compile": { "ref/Two.dll": {} }, "native": { "native/libtwo.so": {}, "native/_._": {} }, "dependencies": { "One": "1.0.0" } }
            """))!;
        Assert.Equal([one, reference], restored.CompileFiles);
        Assert.Equal([one, extra], restored.RuntimeFiles);
        Assert.Equal([native], restored.NativeFiles);
        Assert.Equal([("One", "1.0"), ("Two", "2.0")], restored.Versions.Select(pair => (pair.Key, pair.Value)));
        Assert.Equal(
            ("One 1.0", "One 1.0", "Two 2.0", "Two 2.0"),
            (restored.Owners[one], restored.Owners[extra], restored.Owners[native], restored.Owners[reference]));
        Assert.Equal([("Two", "2.0", "3.0")], restored.Downgrades);
        Assert.Equal("1.0", restored.Versions["ONE"]);
    }

    [Fact]
    public void ReadAssets_FileThatIsGone_IsNoAnswer()
    {
        File("one/1.0/lib/One.dll");
        const string Packages = """ "One/1.0": { "runtime": { "lib/One.dll": {}, "lib/Gone.dll": {} } }, "Two/2.0": {} """;
        Directory.CreateDirectory(_folder.File("two/2.0"));
        Assert.Null(PackageRestorer.ReadAssets(Assets(Packages)));
        var gone = File("one/1.0/lib/Gone.dll");
        Assert.NotNull(PackageRestorer.ReadAssets(Assets(Packages)));
        System.IO.File.Delete(gone);
        File("one/1.0/lib/Gone.dll");
        Directory.Delete(_folder.File("two"), recursive: true);
        Assert.Null(PackageRestorer.ReadAssets(Assets(Packages)));
    }

    [Fact]
    public void Dependencies_OfAnAnswer_AreByPackage()
    {
        var dependencies = PackageRestorer.Dependencies(
            """{ "targets": { "net10.0": { "One/1.0": { "dependencies": { "Two": "1", "Three": "2" } }, "Two/1.0": {} } } }""");
        Assert.Equal(["Two", "Three"], dependencies["one"]);
        Assert.Empty(dependencies["Two"]);
        Assert.Empty(PackageRestorer.Dependencies("{}"));
    }

    [Fact]
    public void ProjectXml_Requests_AreSortedSoThatTheAnswerIsFoundAgain()
    {
        PackageRequest[] requests = [new("b", "1.0"), new("A", "*")];
        var project = PackageRestorer.ProjectXml(requests, "/folder", ["one", "two"]);
        Assert.Equal(project, PackageRestorer.ProjectXml(requests.Reverse(), "/folder", ["one", "two"]));
        var root = XDocument.Parse(project).Root!;
        Assert.Equal("Microsoft.NET.Sdk", (string?)root.Attribute("Sdk"));
        Assert.Equal(
            [("A", "*"), ("b", "1.0")],
            root.Element("ItemGroup")!
                .Elements("PackageReference")
                .Select(e => ((string)e.Attribute("Include")!, (string)e.Attribute("Version")!)));
        Assert.Equal(
            [
                ("TargetFramework", "net10.0"), ("RuntimeIdentifier", RuntimeInformation.RuntimeIdentifier),
                ("SelfContained", "false"), ("UseAppHost", "false"),
                ("ManagePackageVersionsCentrally", "false"), ("RestoreRootConfigDirectory", "/folder"),
                ("RestoreAdditionalProjectSources", "one;two"), ("NoWarn", "NU1605;NU1608"), ("NuGetAudit", "false"),
            ],
            root.Element("PropertyGroup")!.Elements().Select(e => (e.Name.LocalName, e.Value)));
    }

    private string File(string name)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(_folder.File(name))!);
        return _folder.Write(name, "");
    }

    private string Assets(string packages) => $$"""
        {
          "packageFolders": { "{{_folder.File("elsewhere").Replace("\\", "\\\\", StringComparison.Ordinal)}}": {}, "{{_folder.Path.Replace("\\", "\\\\", StringComparison.Ordinal)}}": {} },
          "targets": { "net10.0": { "Wrong/1.0": {} }, "net10.0/any": { {{packages}} } },
          "libraries": { "One/1.0": { "path": "one/1.0" }, "Two/2.0": { "path": "two/2.0" } }
        }
        """;
}
