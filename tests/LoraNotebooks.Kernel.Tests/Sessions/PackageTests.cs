using System.Text;
using LoraNotebooks.Kernel.Sessions;

namespace LoraNotebooks.Kernel.Tests.Sessions;

/// <summary>Packages of many kinds, from the configured sources of the machine. Without those the tests say so and do nothing.</summary>
public sealed class PackageTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly StringBuilder _notes = new();
    private readonly CSharpSession _session;
    private int _cells;

    public PackageTests() => _session = new CSharpSession(new CSharpSessionOptions { BaseFolder = _folder.Path, StandardError = text => _notes.Append(text) });

    public void Dispose()
    {
        _session.Dispose();
        _folder.Dispose();
    }

    [NetworkFact]
    public async Task RunAsync_TwentyPackagesOfOneCell_AreAllUsable()
    {
        string[] packages =
        [
            "Microsoft.ML", "ScottPlot", "Serilog.Sinks.Console", "Microsoft.Data.Sqlite", "Dapper",
            "CsvHelper", "MathNet.Numerics", "YamlDotNet", "NodaTime", "Polly",
            "Bogus", "FluentValidation", "HtmlAgilityPack", "AngleSharp", "OxyPlot.Core",
            "ClosedXML", "LiteDB", "System.Reactive", "RestSharp", "Microsoft.Extensions.Logging.Console",
            "StyleCop.Analyzers", "Serilog.AspNetCore",
        ];
        await ValueAsync(string.Join('\n', packages.Select(name => $"#r \"nuget: {name}\"")));

        // Several assemblies, also without a name of the package's own.
        Assert.Equal(1, await ValueAsync("new Microsoft.ML.MLContext(1).Data.LoadFromEnumerable(new[] { new { A = 1f } }).Schema.Count"));
        Assert.Equal("A1", await ValueAsync("new ClosedXML.Excel.XLWorkbook().AddWorksheet(\"a\").Cell(1, 1).Address.ToString()"));
        Assert.Equal(
            true,
            await ValueAsync("using Serilog; new LoggerConfiguration().WriteTo.Console().CreateLogger().IsEnabled(Serilog.Events.LogEventLevel.Information)"));

        // Natives, beside another package's extension methods.
        Assert.Equal(42L, await ValueAsync(
            "using Dapper; var db = new Microsoft.Data.Sqlite.SqliteConnection(\"Data Source=:memory:\"); db.Open(); "
                + "db.ExecuteScalar<long>(\"select 41 + 1\")"));

        // A part of .NET that the application itself does without.
        Assert.Equal("HttpContext", await ValueAsync("typeof(Microsoft.AspNetCore.Http.HttpContext).Name"));

        // One assembly each.
        await ValueAsync("""
            _ = typeof(CsvHelper.CsvReader); _ = typeof(NodaTime.Instant); _ = typeof(Polly.ResiliencePipeline); _ = typeof(Bogus.Faker); _ = typeof(ScottPlot.Plot);
            _ = new HtmlAgilityPack.HtmlDocument(); _ = new AngleSharp.Html.Parser.HtmlParser(); _ = new OxyPlot.PlotModel(); _ = typeof(LiteDB.LiteDatabase);
            _ = typeof(System.Reactive.Unit); _ = new RestSharp.RestRequest(); _ = typeof(Microsoft.Extensions.Logging.ConsoleLoggerExtensions); _ = typeof(FluentValidation.IValidator);
            """);
        Assert.Equal("A: 1\n", (await ValueAsync("new YamlDotNet.Serialization.Serializer().Serialize(new { A = 1 })") as string)?.ReplaceLineEndings("\n"));
        Assert.Equal(2.0, await ValueAsync("MathNet.Numerics.LinearAlgebra.Matrix<double>.Build.DenseIdentity(2).Trace()"));
    }

    [NetworkFact]
    public async Task RunAsync_PackagesOfSeveralCells_AreAllUsableInEach()
    {
        await ValueAsync("#r \"nuget: Humanizer.Core, 2.14.1\"\nusing Humanizer;");
        await ValueAsync("#r \"nuget: CsvHelper\"\n#r \"nuget: Serilog.Sinks.Console\"\nusing CsvHelper;");
        Assert.Equal("Some name LogEvent", await ValueAsync("\"SomeName\".Humanize() + \" \" + typeof(Serilog.Events.LogEvent).Name"));
    }

    [NetworkFact]
    public async Task RunAsync_CellThatRestoredAndDoesNotCompile_LeavesItsPackagesForTheNext()
    {
        await ValueAsync("var first = 1;");
        Assert.Equal(CellStatus.CompileError, (await RunAsync("#r \"nuget: YamlDotNet\"\n#r \"nuget: CsvHelper\"\nint x = \"text\";")).Status);
        await ValueAsync(
            "#r \"nuget: YamlDotNet\"\n#r \"nuget: CsvHelper\"\n"
                + "_ = typeof(CsvHelper.CsvReader); _ = typeof(YamlDotNet.Serialization.Serializer);");
    }

    [NetworkFact]
    public async Task RunAsync_PackagesOfALoadedFile_AreAllUsable()
    {
        _folder.Write("setup.csx", "#r \"nuget: Serilog.Sinks.Console\"\nvar type = typeof(Serilog.ConsoleLoggerConfigurationExtensions);");
        Assert.Equal("Log", await ValueAsync("#load \"setup.csx\"\ntypeof(Serilog.Log).Name"));
    }

    [NetworkFact]
    public async Task RunAsync_PackageThatDoesNotExistAmongOthers_IsNamedAlone()
    {
        await ValueAsync("#r \"nuget: CsvHelper\"");
        var error = (await RunAsync("#r \"nuget: YamlDotNet\"\n#r \"nuget: No.Such.Package.Anywhere, 1.2.3\"")).Error!;
        Assert.StartsWith("NuGet could not restore No.Such.Package.Anywhere 1.2.3:\n", error.Message, StringComparison.Ordinal);
        Assert.Contains("NU1101", error.Message, StringComparison.Ordinal);
        await ValueAsync("#r \"nuget: YamlDotNet\"\n_ = typeof(YamlDotNet.Serialization.Serializer);");
    }

    [NetworkFact]
    public async Task RunAsync_AnotherVersionLater_KeepsTheFirstAndSaysSo()
    {
        await ValueAsync("#r \"nuget: Humanizer.Core, 2.14.1\"");
        await ValueAsync("#r \"nuget: Humanizer.Core, 2.*\"\n#r \"nuget: Humanizer.Core, [2.0,3)\"");
        Assert.Equal("", _notes.ToString());
        Assert.Equal(
            "2.14.0.0",
            (await ValueAsync("#r \"nuget: Humanizer.Core, 2.8.26\"\ntypeof(Humanizer.StringHumanizeExtensions).Assembly.GetName().Version"))!.ToString());
        Assert.Contains("Humanizer.Core 2.14.1 is used; 2.8.26 was asked for.", _notes.ToString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("TorchSharp, 0.100.0", "TorchSharp 0.107.0 is used; 0.100.0 was asked for.\n")]
    [InlineData("TorchSharp-cpu, 0.105.0", "TorchSharp-cpu 0.107.0 is used; 0.105.0 was asked for.\n")]
    [InlineData("System.Text.Json, 99.0.0", "System.Text.Json {0} is used; 99.0.0 was asked for.\n")]
    [InlineData("TorchSharp, 0.107.0", "")]
    [InlineData("TorchSharp, [0.100,1.0)", "")]
    [InlineData("TorchSharp", "")]
    [InlineData("System.Text.Json, 8.0.5", "")]
    public async Task RunAsync_PackageThatTheApplicationBrings_SaysWhichVersionIsUsed(string package, string note)
    {
        await ValueAsync($"#r \"nuget: {package}\"\n1");
        Assert.Equal(string.Format(System.Globalization.CultureInfo.InvariantCulture, note, Environment.Version), _notes.ToString());
    }

    [Theory]
    [InlineData("1.2.3", "1.2.3", true)]
    [InlineData("1.2", "1.2.0.0", true)]
    [InlineData("1.2.3", "1.2.4", false)]
    [InlineData("1.2.3-beta", "1.2.3", false)]
    [InlineData("1.*", "1.9.2", true)]
    [InlineData("1.*", "2.0.0", false)]
    [InlineData("*-*", "2.0.0-rc.1", true)]
    [InlineData("[1.0,2.0)", "2.0.0", false)]
    [InlineData("[1.0,2.0)", "1.0.0", true)]
    [InlineData("(1.0,)", "1.0.0", false)]
    [InlineData("[1.5]", "1.5.0", true)]
    public void Admits_Versions_AreReadAsNuGetReadsThem(string asked, string version, bool expected) =>
        Assert.Equal(expected, new PackageRequest("A", asked).Admits(version));

    [Fact]
    public void Failure_OfWhatAPackageBringsAlong_NamesThePackage()
    {
        var needed = new[] { ("Two", "Inner"), ("Inner", "Two.Analyzer") }.ToLookup(pair => pair.Item1, pair => pair.Item2);
        var message = PackageRestorer.Failure(
            [new("One", "*"), new("Two", "1.0")],
            "x.csproj : error NU1102: Unable to find package Two.Analyzer with version (>= 3) [x.csproj]",
            needed);
        Assert.StartsWith("NuGet could not restore Two 1.0:\n  error NU1102: Unable to find package Two.Analyzer", message, StringComparison.Ordinal);
    }

    [Fact]
    public void OlderInstead_NewestVersionsForANewerNet_AreNarrowedAndOthersStay()
    {
        const string Output = "x : error NU1202: Package Two 11.0.3 is not compatible with net10.0 (.NETCoreApp,Version=v10.0). "
            + "Package Two 11.0.3 supports: net11.0";
        Assert.Equal([new("One", "*"), new PackageRequest("Two", "[*,11.0.0)")], PackageRestorer.OlderInstead([new("One", "*"), new("Two", "*")], Output));
        Assert.Null(PackageRestorer.OlderInstead([new("One", "*"), new("Two", "11.0.3")], Output));
        Assert.Null(PackageRestorer.OlderInstead([new("Two", "[*,11.0.0)")], Output));
    }

    [NetworkFact]
    public async Task RunAsync_PackageOnPackagesInOtherVersions_SaysSoOnce()
    {
        await ValueAsync("#r \"nuget: Humanizer.Core, 2.8.26\"");
        await ValueAsync("#r \"nuget: Humanizer.Core.de, 2.14.1\"");
        await ValueAsync("#r \"nuget: CsvHelper\"");
        Assert.Equal(1, _notes.ToString().Split("Humanizer.Core 2.8.26 is used; 2.14.1 was asked for").Length - 1);
    }

    private Task<CellResult> RunAsync(string code) => _session.RunAsync(code, $"cell {++_cells}");

    private async Task<object?> ValueAsync(string code)
    {
        var result = await RunAsync(code);
        Assert.True(result.Error is null, string.Join('\n', result.Error?.Traceback ?? []));
        return result.Value;
    }
}

/// <summary>A test that needs packages from the configured sources; skipped where they cannot be reached.</summary>
public sealed class NetworkFactAttribute : FactAttribute
{
    private static readonly Lazy<string?> Reason = new(() =>
    {
        try
        {
            // The smallest one there is to restore: what was restored once needs no network again.
            PackageRestorer.RestoreAsync([new PackageRequest("CsvHelper", "*")], Environment.CurrentDirectory, [], CancellationToken.None)
                .GetAwaiter()
                .GetResult();
            return null;
        }
        catch (PackageRestoreException error)
        {
            return "NuGet's sources cannot be reached from here: " + error.Message.ReplaceLineEndings(" ");
        }
    });

    public NetworkFactAttribute() => Skip = Reason.Value;
}
