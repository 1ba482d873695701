using LoraNotebooks.Kernel.Sessions;

namespace LoraNotebooks.Kernel.Tests.Sessions;

/// <summary>What cells ask of NuGet, how versions are read, and what is said where NuGet refuses.</summary>
public sealed class PackageRequestTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly List<string> _reports = [];
    private readonly List<string> _notes = [];

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("nuget: Humanizer", "Humanizer", "*")]
    [InlineData("nuget:Humanizer", "Humanizer", "*")]
    [InlineData(" NuGet: Humanizer.Core , 2.14.1 ", "Humanizer.Core", "2.14.1")]
    [InlineData("nuget: A,", "A", "*")]
    [InlineData("nuget: A_b-c.d1, [1.0,2.0)", "A_b-c.d1", "[1.0,2.0)")]
    [InlineData("nuget: A, *-*", "A", "*-*")]
    [InlineData("nuget: A, 1.0.0-rc.1+5", "A", "1.0.0-rc.1+5")]
    public void TryParse_Directive_IsNameAndVersion(string directive, string id, string version)
    {
        Assert.True(PackageRequest.IsPackage(directive));
        Assert.True(PackageRequest.TryParse(directive, out var request));
        Assert.Equal((id, version), (request.Id, request.Version));
    }

    [Theory]
    [InlineData("nuget: ", true)]
    [InlineData("nuget: , 1.0", true)]
    [InlineData("nuget: -A", true)]
    [InlineData("nuget: A b", true)]
    [InlineData("nuget: A, 1.0; rm", true)]
    [InlineData("nuget: A\n", false, "A")]
    [InlineData("file.dll", false)]
    [InlineData("nuget", false)]
    public void TryParse_AnythingElse_IsNone(string directive, bool isPackage, string? id = null)
    {
        Assert.Equal(id is not null, PackageRequest.TryParse(directive, out var request));
        Assert.Equal(id, request?.Id);
        Assert.Equal(isPackage || id is not null, PackageRequest.IsPackage(directive));
    }

    [Theory]
    [InlineData("1.2.3", "1.2.3", 0)]
    [InlineData("1.2.3", "1.2.3.0", 0)]
    [InlineData("1.2.3+build", "1.2.3", 0)]
    [InlineData("1.2.3", "1.2.4", -1)]
    [InlineData("1.10", "1.9", 1)]
    [InlineData("1.0.0.1", "1.0.0.0", 1)]
    [InlineData("2.0", "1.9.9.9", 1)]
    [InlineData("1.0-beta", "1.0", -1)]
    [InlineData("1.0", "1.0-beta", 1)]
    [InlineData("1.0-alpha", "1.0-beta", -1)]
    [InlineData("1.0-BETA", "1.0-beta", 0)]
    [InlineData("1.1-alpha", "1.0", 1)]
    [InlineData("x", "0", 0)]
    public void Compare_Versions_AreOrderedAsNuGetOrdersThem(string one, string other, int expected)
    {
        Assert.Equal(expected, Math.Sign(PackageRequest.Compare(one, other)));
        Assert.Equal(-expected, Math.Sign(PackageRequest.Compare(other, one)));
    }

    [Theory]
    [InlineData("[1.0,2.0]", "1.0 1.5 2.0", "0.9 2.0.1")]
    [InlineData("(1.0,2.0)", "1.0.1 1.9", "1.0 2.0")]
    [InlineData("[1.0,)", "1.0 99", "0.9")]
    [InlineData("(,2.0]", "0.1 2.0", "2.1")]
    [InlineData("(,2.0)", "0.1 1.9", "2.0")]
    [InlineData("[1.5]", "1.5 1.5.0", "1.4 1.6")]
    [InlineData("[ 1.0 , 2.0 )", "1.0", "2.0")]
    [InlineData("*", "1.0 2.0", "")]
    [InlineData("2.*", "2.0 2.9.1", "1.0 3.0")]
    [InlineData("2.1-*", "2.1 2.1-rc", "2.0")]
    public void Admits_Range_IsReadAsNuGetReadsIt(string asked, string inside, string outside)
    {
        var request = new PackageRequest("A", asked);
        Assert.All(inside.Split(' '), version => Assert.True(request.Admits(version), version));
        Assert.All(outside.Split(' ', StringSplitOptions.RemoveEmptyEntries), version => Assert.False(request.Admits(version), version));
    }

    [Theory]
    [InlineData("/x/packages.csproj : error NU1101: Unable to find package One. [/x/packages.csproj]", "One", "error NU1101: Unable to find package One.")]
    [InlineData("error : the network is down", "One and Two 1.0", "error : the network is down")]
    [InlineData("nothing of use\n", "One and Two 1.0", "nothing of use")]
    [InlineData("x : error NU1: One.More is missing\nx : error NU1: One.More is missing", "One and Two 1.0", "error NU1: One.More is missing")]
    [InlineData(
        "x : error NU1: ONE is missing\nx : error NU2: two 1.0 is not there",
        "One and Two 1.0",
        "error NU1: ONE is missing",
        "error NU2: two 1.0 is not there")]
    [InlineData("x : error NU1: the dependency (One)", "One", "error NU1: the dependency (One)")]
    [InlineData("x : error NU1: My-One and One-s and My.One", "One and Two 1.0", "error NU1: My-One and One-s and My.One")]
    public void Failure_Output_NamesThePackagesThatItSpeaksOf(string output, string named, params string[] errors) => Assert.Equal(
        $"NuGet could not restore {named}:\n  {string.Join("\n  ", errors)}\n"
            + "Check the package's name and version, the network, and the sources of nuget.config.",
        PackageRestorer.Failure([new("One", "*"), new("Two", "1.0")], output, Array.Empty<string>().ToLookup(id => id)));

    [Fact]
    public void Failure_ManyErrors_AreTenAtMost()
    {
        var message = PackageRestorer.Failure(
            [new("One", "*")],
            string.Join('\n', Enumerable.Range(0, 12).Select(i => $"error {i}")),
            Array.Empty<string>().ToLookup(id => id));
        Assert.Contains("error 9\n", message, StringComparison.Ordinal);
        Assert.DoesNotContain("error 10", message, StringComparison.Ordinal);
    }

    [Fact]
    public void Failure_DependenciesInACircle_AreFollowedOnce()
    {
        var needed = new[] { ("One", "Inner"), ("Inner", "One"), ("Inner", "Deep") }
            .ToLookup(pair => pair.Item1, pair => pair.Item2, StringComparer.OrdinalIgnoreCase);
        Assert.StartsWith(
            "NuGet could not restore One:\n",
            PackageRestorer.Failure([new("One", "*"), new("Two", "*")], "error: Deep is missing", needed),
            StringComparison.Ordinal);
    }

    [Fact]
    public void OlderInstead_StepByStep_GoesDownAndEnds()
    {
        static string TooNew(string package, int major) => $"error NU1202: Package {package} {major}.1.0 is not compatible with net10.0";
        Assert.Equal([new PackageRequest("A", "[*,9.0.0)")], PackageRestorer.OlderInstead([new("A", "[*,11.0.0)")], TooNew("A", 9)));
        Assert.Equal([new PackageRequest("a", "[*,11.0.0)")], PackageRestorer.OlderInstead([new("a", "*")], TooNew("A", 11) + "\n" + TooNew("A", 11)));
        Assert.Null(PackageRestorer.OlderInstead([new("A", "*")], TooNew("A", 0)));
        Assert.Null(PackageRestorer.OlderInstead([new("A", "*")], TooNew("B", 11)));
        Assert.Null(PackageRestorer.OlderInstead([new("A", "1.*")], TooNew("A", 11)));
        Assert.Null(PackageRestorer.OlderInstead([new("A", "*")], "error NU1101: Package A 11.0.0"));
    }

    [Theory]
    [InlineData("TorchSharp, 0.100.0", "TorchSharp 0.107.0 is used; 0.100.0 was asked for.")]
    [InlineData("TorchSharp-cuda-linux, 0.100.0", "TorchSharp-cuda-linux 0.107.0 is used; 0.100.0 was asked for.")]
    [InlineData("libtorch-cpu-linux-x64, 1.0", "libtorch-cpu-linux-x64 2.10.0 is used; 1.0 was asked for.")]
    [InlineData("TorchSharp, 0.107.*", null)]
    [InlineData("System.Text.Json, 1.0.0", null)]
    [InlineData("System.Text.Json, 99.0", "System.Text.Json {0} is used; 99.0 was asked for.")]
    public async Task PrepareAsync_WhatTheApplicationBrings_IsTakenAndAnotherVersionSaid(string package, string? note)
    {
        await Resolver().PrepareAsync([$"nuget: {package}"], CancellationToken.None);
        Assert.Equal(note is null ? [] : [string.Format(System.Globalization.CultureInfo.InvariantCulture, note, Environment.Version)], _notes);
        Assert.Empty(_reports);
    }

    [Theory]
    [InlineData("Microsoft.DotNet.Interactive.Formatting")]
    [InlineData("Plotly.NET.Interactive, 5.0.0")]
    public async Task PrepareAsync_ExtensionOfAnotherHost_IsLeftOutAndSaid(string package)
    {
        await Resolver().PrepareAsync([$"nuget: {package}", "file.dll"], CancellationToken.None);
        Assert.Equal([$"{package.Split(',')[0]} extends .NET Interactive; this kernel shows its objects by itself, so nothing was loaded."], _reports);
        Assert.Empty(_notes);
    }

    [Fact]
    public async Task PrepareAsync_DirectiveThatCannotBeRead_SaysHowToWriteIt()
    {
        var error = await Assert.ThrowsAsync<PackageRestoreException>(() => Resolver().PrepareAsync(["nuget: not a name"], CancellationToken.None));
        Assert.Equal(
            "#r \"nuget: not a name\" cannot be read. Write #r \"nuget: Name, version\", for example #r \"nuget: Humanizer.Core, 2.14.1\".",
            error.Message);
    }

    [Fact]
    public void AddSource_FolderThatIsNotThere_IsNamedByItsFullPath()
    {
        Assert.Equal(
            $"There is no folder {_folder.File("nowhere")} to take packages from.",
            Assert.Throws<CellMagicException>(() => Resolver().AddSource("\"nuget: nowhere\"")).Message);
        Directory.CreateDirectory(_folder.File("feed"));
        Resolver().AddSource("\"nuget: feed\"");
        Resolver().AddSource(" \"nuget: https://example.org/v3/index.json\" ");
    }

    [Fact]
    public void Find_PackagesOfTheApplication_HaveItsVersions()
    {
        Assert.Equal(("0.107.0", false), Facts("TorchSharp"));
        Assert.Equal(("0.107.0", false), Facts("torchsharp-CPU"));
        Assert.Equal((Tensors.NativeRuntime.LibTorchVersion, false), Facts("libtorch-cpu-win-x64"));
        Assert.Equal((Environment.Version.ToString(), true), Facts("System.Text.Json"));
        Assert.Null(HostPackages.Find("libtorch"));
        Assert.Null(HostPackages.Find("No.Such.Package"));
        Assert.Equal("0.107.0", HostPackages.VersionOf("TorchSharp"));
        Assert.Equal(Environment.Version.ToString(), HostPackages.VersionOf("System.Text.Json"));
        Assert.Equal("", HostPackages.VersionOf("No.Such.Package"));

        static (string, bool)? Facts(string id) => HostPackages.Find(id) is { } found ? (found.Version, found.IsFramework) : null;
    }

    private CellReferenceResolver Resolver() => new(_folder.Path, _reports.Add, _notes.Add);
}
