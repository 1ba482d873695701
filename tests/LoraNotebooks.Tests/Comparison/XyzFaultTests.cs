using System.Globalization;
using LoraNotebooks.Comparison;
using LoraNotebooks.Data;
using LoraNotebooks.Tensors.Convolutions;
using LoraNotebooks.Tests.Diffusion;
using LoraNotebooks.Tests.Models;

namespace LoraNotebooks.Tests.Comparison;

/// <summary>Cells that cannot be told apart, and cells that are lost: neither happens.</summary>
public sealed class XyzFaultTests : IDisposable
{
    private static readonly XyzSettings Plain = new() { Prompt = "a cat", Steps = 1 };

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Seed_MinusOne_IsDrawnOnceAndToldEverywhere()
    {
        var axis = XyzAxis.Seed("-1, 7, -1, -1");
        var grid = new XyzGrid(Plain, axis, XyzAxis.Steps("1, 2"));
        var seeds = Enumerable.Range(0, 4).Select(x => grid.At(x).Seed).ToList();

        Assert.Equal(4, seeds.Distinct().Count());
        Assert.Equal(7, seeds[1]);
        Assert.All(seeds, static seed => Assert.InRange(seed, 0, (1L << 32) - 1));
        Assert.Equal(seeds.Select(static seed => seed.ToString(CultureInfo.InvariantCulture)), axis.Labels);
        Assert.Equal(seeds, Enumerable.Range(0, 4).Select(x => grid.At(x, 1).Seed));
        Assert.Contains("8 cells, 12 denoising", grid.Statement);
        grid.Run(new Painter()).Save(_folder.Path);
        Assert.Equal(seeds, XyzIndex.Load(_folder.Path).Where(static entry => entry.Y == "1").Select(static entry => entry.Settings.Seed));
        Assert.NotEqual(axis.Labels, XyzAxis.Seed("-1, 7, -1, -1").Labels);
    }

    [Fact]
    public void Settings_SeedMinusOne_IsOneForAllCellsOfAGrid()
    {
        var grid = new XyzGrid(Plain with { Seed = XyzSettings.RandomSeed }, XyzAxis.Steps("1, 2"), XyzAxis.Guidance("2, 3"));
        var result = grid.Run(new Painter());

        Assert.InRange(grid.Settings.Seed, 0, (1L << 32) - 1);
        Assert.Equal(grid.Settings.Seed, Assert.Single(result.Cells.Select(static cell => cell.Settings.Seed).Distinct()));
        Assert.NotEqual(grid.Settings.Seed, new XyzGrid(Plain with { Seed = -1 }, XyzAxis.Steps("1")).Settings.Seed);
        Assert.Equal(-2, new XyzGrid(Plain with { Seed = -2 }, XyzAxis.Steps("1")).Settings.Seed);
    }

    [Theory]
    [InlineData("0.00001, 0.00002", "0.00001 0.00002")]
    [InlineData("0.333333333, 0.333333334", "0.333333333 0.333333334")]
    [InlineData("1e-12", "0.000000000001")]
    [InlineData("0-1 [4]", "0 0.3333 0.6667 1")]
    [InlineData("0-1 [4], 0-1 [4]", "0 0.3333 0.6667 1 0 0.3333 0.6667 1")]
    [InlineData("0.5, 0.00000001", "0.5 0.00000001")]
    [InlineData("0.000000000000001", "0.000000000000001")]
    [InlineData("-0.00000001, 0", "-0.00000001 0")]
    [InlineData("0.12345, 1", "0.12345 1")]
    [InlineData("1, 1, 0.5", "1 1 0.5")]
    [InlineData("1000000.00004, 1000000.00005", "1000000.00004 1000000.00005")]
    public void Labels_OfNumbers_TellThemApart(string values, string expected)
    {
        Assert.Equal(expected.Split(' '), XyzAxis.LoraWeight(values).Labels);
        Assert.Equal(expected.Split(' '), XyzAxis.Guidance(values).Labels);
    }

    [Fact]
    public void Labels_OfNumbersThatDifferInTheLastBit_HaveAllDigits() =>
        Assert.Equal(["1E-300", "2E-300", "0.1", "0.10000000000000002"], XyzAxis.LoraWeight(1e-300, 2e-300, 0.1, Math.BitIncrement(0.1)).Labels);

    [Fact]
    public void Labels_OfFiles_TellThemApart()
    {
        Assert.Equal(["a/x/last", "b/x/last", "b/y/last"], XyzAxis.Checkpoint("runs/a/x/last.safetensors", "runs/b/x/last.safetensors", "runs/b/y/last.safetensors").Labels);
        Assert.Equal(["runs/last.safetensors", "runs/last"], XyzAxis.Checkpoint("runs/last.safetensors", "runs/last").Labels);
    }

    [Fact]
    public void Axis_WholeNumberThatIsTooLarge_IsNotCutSilently()
    {
        Assert.Contains("3000000000", Assert.Throws<FormatException>(static () => XyzAxis.Steps("3000000000")).Message);
        Assert.Contains("-3000000000", Assert.Throws<FormatException>(static () => XyzAxis.ClipSkip("-3000000000")).Message);
    }

    [Fact]
    public void Save_ValuesWithTheSameBeginning_GetFilesOfTheirOwn()
    {
        var beginning = "cat, " + string.Concat(Enumerable.Repeat("very ", 30));
        string[] texts = ["cat", .. Enumerable.Range(0, 110).Select(i => $"{beginning}{i}")];
        var result = new XyzGrid(Plain, XyzAxis.PromptSearchReplace(texts), XyzAxis.LoraWeight("0.00001, 0.00002")).Run(new Painter());

        var paths = result.Save(_folder.Path);

        Assert.Equal(222, paths.Distinct(StringComparer.OrdinalIgnoreCase).Count());
        Assert.Equal(224, Directory.GetFiles(_folder.Path).Length);
        Assert.All(paths, static path => Assert.InRange(Path.GetFileName(path).Length, 1, 200));
        Assert.Equal(texts.Order(), XyzIndex.Load(_folder.Path).Select(static entry => entry.X).Distinct().Order());
        Assert.Equal(result.Cells.Select(static cell => cell.Image[0, 0].Red), paths.Select(static path => RgbImage.Load(path)[0, 0].Red));
    }

    [Fact]
    public void Save_FolderWithOtherContent_OverwritesNothingSilently()
    {
        File.WriteAllText(_folder.In("notes.txt"), "mine");
        var first = new XyzGrid(Plain, XyzAxis.Seed("1-3")).Run(new Painter());
        first.Save(_folder.Path);
        first.Save(_folder.Path);
        var other = new XyzGrid(Plain with { Prompt = "a dog" }, XyzAxis.Seed("1-2")).Run(new Painter { Shade = 9 });

        var message = Assert.Throws<IOException>(() => other.Save(_folder.Path)).Message;

        Assert.Contains("4 files of these names already", message);
        Assert.Contains("index.json", message);
        Assert.Equal("a cat", XyzIndex.Load(_folder.Path)[0].Settings.Prompt);
        other.Save(_folder.Path, overwrite: true);
        Assert.Equal("a dog", XyzIndex.Load(_folder.Path)[0].Settings.Prompt);
        Assert.Equal("mine", File.ReadAllText(_folder.In("notes.txt")));
    }

    [Fact]
    public void Run_OneCellFails_TheOthersArePaintedAndItIsNamed()
    {
        var reports = new List<XyzProgress>();
        var painter = new Painter { Fault = static settings => settings.Seed == 2 ? new InvalidDataException("the file is damaged") : null };

        var result = new XyzGrid(Plain, XyzAxis.Seed("1-4")).Run(painter, new Hearer(reports.Add));

        Assert.Equal([1L, 3, 4], result.Cells.Select(static cell => cell.Settings.Seed));
        var failure = Assert.Single(result.Failures);
        Assert.Equal((1, 2L, "the file is damaged"), (failure.X, failure.Settings.Seed, failure.Message));
        Assert.False(result.IsComplete);
        Assert.Equal([1, 2, 3, 4], reports.Select(static report => report.Done));
        Assert.Same(failure, reports[1].Failure);
        Assert.Null(reports[1].Cell);
        Assert.Contains("1 cell could not be painted and is not saved", Heard.During(() => Assert.Equal(3, result.Save(_folder.Path).Count)));
    }

    [Fact]
    public void Run_EveryCellFails_Throws()
    {
        var painter = new Painter { Fault = static _ => new InvalidDataException("no model") };
        var error = Assert.Throws<InvalidOperationException>(() => new XyzGrid(Plain, XyzAxis.Seed("1-3")).Run(painter));
        Assert.Equal("None of 3 cells could be painted. The first: no model", error.Message);
        Assert.IsType<InvalidDataException>(error.InnerException);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Run_ListenerFails_PaintsOnAndSaysSo(bool cancels)
    {
        var calls = 0;
        XyzResult? result = null;
        var told = Heard.During(() => result = new XyzGrid(Plain, XyzAxis.Seed("1-4")).Run(new Painter(), new Hearer(_ =>
        {
            calls++;
            throw cancels ? new OperationCanceledException("gone") : new NotSupportedException("gone");
        })));

        Assert.Equal((4, 0, 1), (result!.Cells.Count, result.Failures.Count, calls));
        Assert.Contains("as the listener failed: gone", told);
    }

    [Fact]
    public void Run_PromptsTooLong_AreToldBeforeTheFirstCellAndOnce()
    {
        using var pipeline = TinyPipeline.Create();
        var many = string.Join(", ", Enumerable.Repeat("long hair", 8));
        var grid = new XyzGrid(new() { Prompt = "portrait", NegativePrompt = "no " + many, Steps = 1, Width = 16, Height = 16 }, XyzAxis.PromptSearchReplace("portrait", many + ", one", many + ", two"), XyzAxis.Seed("1-2"));

        // What the first convolution of a process may tell of its kernels is no matter of the grid.
        _ = CheckedConvolution.Engine.Findings;

        var told = Heard.During(() => grid.Run(pipeline));

        Assert.Contains("The grid: 2 prompts longer than the text encoder sees", told);
        Assert.Contains("The grid: 1 negative prompt longer", told);
        Assert.Equal(2, told.Split('\n', StringSplitOptions.RemoveEmptyEntries).Length);
    }

    private sealed class Painter : IXyzRenderer
    {
        private byte _painted;

        public byte Shade { get; init; }

        public Func<XyzSettings, Exception?> Fault { get; init; } = static _ => null;

        public RgbImage Render(XyzSettings settings, CancellationToken cancellationToken) => Fault(settings) is { } fault
            ? throw fault
            : new RgbImage(2, 2, [.. Enumerable.Repeat((byte)(Shade + _painted++), 12)]);
    }

    private sealed class Hearer(Action<XyzProgress> hear) : IProgress<XyzProgress>
    {
        public void Report(XyzProgress value) => hear(value);
    }
}
