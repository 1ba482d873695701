using LoraNotebooks.Comparison;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Tests.Models;

namespace LoraNotebooks.Tests.Comparison;

/// <summary>What a run does in which order, what it reports of it, and what it leaves behind.</summary>
public sealed class XyzRunTests : IDisposable
{
    private static readonly XyzSettings Plain = new() { Prompt = "a cat", Steps = 2 };

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    /// <summary>Two axes of any kinds on any places: the costlier kind changes once, the other within it.</summary>
    [Fact]
    public void Run_AnyTwoKindsOnAnyPlaces_PaintsTheCostlierOutermost()
    {
        Func<XyzAxis>[] kinds =
        [
            () => XyzAxis.Checkpoint("a, b"), () => XyzAxis.LoraWeight("0.5, 1"), () => XyzAxis.PromptSearchReplace("cat, dog"), () => XyzAxis.ClipSkip("1, 2"),
            () => XyzAxis.Sampler("Euler, LMS"), () => XyzAxis.ScheduleType("Karras, Normal"), () => XyzAxis.Steps("1, 2"), () => XyzAxis.Guidance("2, 3"), () => XyzAxis.Seed("1, 2"),
        ];
        Assert.Equal(XyzAxisTests.Factories.Count, kinds.Length);
        for (var first = 0; first < kinds.Length; first++)
        {
            for (var second = 0; second < kinds.Length; second++)
            {
                if (first != second)
                {
                    var isXOutside = first < second;
                    Assert.Equal(
                        isXOutside ? [(0, 0), (0, 1), (1, 0), (1, 1)] : [(0, 0), (1, 0), (0, 1), (1, 1)],
                        Order(new XyzGrid(Plain, kinds[first](), kinds[second]())).Select(static at => (at.X, at.Y)));
                    Assert.Equal(
                        isXOutside ? [(0, 0), (0, 1), (1, 0), (1, 1)] : [(0, 0), (1, 0), (0, 1), (1, 1)],
                        Order(new XyzGrid(Plain, kinds[first](), z: kinds[second]())).Select(static at => (at.X, at.Z)));
                }
            }
        }
    }

    [Fact]
    public void Run_ThreeAxes_PaintsInTheOrderOfTheirCosts()
    {
        var grid = new XyzGrid(Plain, XyzAxis.Seed("1-2"), XyzAxis.LoraWeight("0.5, 1"), XyzAxis.Steps("1-3"));
        var expected = from y in Enumerable.Range(0, 2) from z in Enumerable.Range(0, 3) from x in Enumerable.Range(0, 2) select (x, y, z);
        Assert.Equal(expected, Order(grid));

        // Of one kind the later place is the outer one, so that a grid is painted row by row.
        var prompts = new XyzGrid(Plain with { Prompt = "a b c" }, XyzAxis.PromptSearchReplace("a", "x"), XyzAxis.PromptSearchReplace("b", "y"), XyzAxis.PromptSearchReplace("c", "z"));
        Assert.Equal(from z in Enumerable.Range(0, 2) from y in Enumerable.Range(0, 2) from x in Enumerable.Range(0, 2) select (x, y, z), Order(prompts));
    }

    [Fact]
    public void Statement_OfAGrid_CountsAxesCellsPicturesAndSteps()
    {
        Assert.Equal("1 (seed) = 1 cell, 2 denoising steps", new XyzGrid(Plain, XyzAxis.Seed(4)).Statement);
        Assert.Equal("2 (seed) × 3 (steps) = 6 cells, 12 denoising steps", new XyzGrid(Plain, XyzAxis.Seed(4, 5), XyzAxis.Steps(1, 2, 3)).Statement);
        Assert.Equal(
            "3 (LoRA weight) × 2 (checkpoint) = 6 cells, 3 of them different, 6 denoising steps",
            new XyzGrid(Plain, XyzAxis.LoraWeight(0, 1, 1), z: XyzAxis.Checkpoint("a", "b")).Statement);
        Assert.Equal("2 (seed) = 2 cells, 4000000000 denoising steps", new XyzGrid(Plain with { Steps = 2_000_000_000 }, XyzAxis.Seed(4, 5)).Statement);
        Assert.Equal(
            (1, 2, 12),
            (new XyzGrid(Plain, XyzAxis.Seed(4)).Count, new XyzGrid(Plain, XyzAxis.Seed(4, 5)).Count, new XyzGrid(Plain, XyzAxis.Seed(4, 5), XyzAxis.Steps(1, 2), XyzAxis.Guidance(1, 2, 3)).Count));
    }

    [Fact]
    public void Run_ReportsEachCellOnceWithItsNumberAndWhatItWasMadeWith()
    {
        var reports = new List<XyzProgress>();
        var painter = new Painter { Fault = static settings => settings is { Seed: 2, Steps: 1 } ? new InvalidDataException("damaged") : null };
        var result = new XyzGrid(Plain, XyzAxis.Seed("1-2"), XyzAxis.Steps("1, 2")).Run(painter, new Hearer(reports.Add));

        Assert.Equal([(1, 4), (2, 4), (3, 4), (4, 4)], reports.Select(static report => (report.Done, report.Total)));
        Assert.Equal(result.Cells, reports.Where(static report => report.Failure is null).Select(static report => report.Cell!));
        Assert.Equal([(0, 0), (0, 1), (1, 1)], result.Cells.Select(static cell => (cell.X, cell.Y)));
        var failed = Assert.Single(result.Failures);
        Assert.Equal((1, 0, 0, "damaged", Plain with { Seed = 2, Steps = 1 }), (failed.X, failed.Y, failed.Z, failed.Message, failed.Settings));
        Assert.Null(result[1, 0]);
        Assert.All(result.Cells, static cell => Assert.Equal(("model's own", "painter"), (cell.Settings.NegativePrompt, cell.Facts["name"])));
    }

    [Fact]
    public void Run_SameSettingsAsAFailedCell_AreTriedAgain()
    {
        var painter = new Painter { Fault = static _ => null, FailsOnce = true };
        var result = new XyzGrid(Plain, XyzAxis.Seed(1, 1, 1)).Run(painter);
        Assert.Equal((1, 2, 2), (result.Failures.Count, result.Cells.Count, painter.Calls.Count));
        Assert.Equal([false, true], result.Cells.Select(static cell => cell.IsReused));
    }

    /// <summary>Only the token that was handed in ends a run.</summary>
    [Fact]
    public void Run_CellThatGivesUpByItself_IsAFailureAmongOthers()
    {
        var painter = new Painter { Fault = static settings => settings.Seed == 2 ? new OperationCanceledException("timed out") : null };
        var result = new XyzGrid(Plain, XyzAxis.Seed("1-3")).Run(painter);
        Assert.Equal(("timed out", 2), (Assert.Single(result.Failures).Message, result.Cells.Count));
    }

    [Fact]
    public void Run_CancelledBeforeTheFirstCell_IsEmptyAndComplete_IsNot()
    {
        var painter = new Painter();
        var result = new XyzGrid(Plain, XyzAxis.Seed("1-3")).Run(painter, null, new CancellationToken(canceled: true));
        Assert.Empty(result.Cells);
        Assert.Empty(painter.Calls);
        Assert.False(result.IsComplete);
        Assert.True(new XyzGrid(Plain, XyzAxis.Seed("1-3")).Run(painter).IsComplete);
    }

    [Fact]
    public void Run_Warnings_AreOfAllDifferentCellsAndToldFirst()
    {
        var painter = new Painter { Warned = static all => [$"{all.Count} settings", "and more"] };
        var told = Heard.During(() => new XyzGrid(Plain, XyzAxis.Seed(1, 1, 2)).Run(painter));
        Assert.Equal(
            ["The grid: 2 settings", "The grid: and more"],
            told.Split(Environment.NewLine, StringSplitOptions.RemoveEmptyEntries).Select(static line => line[line.IndexOf("The grid", StringComparison.Ordinal)..]));
        Assert.Equal("", Heard.During(() => new XyzGrid(Plain, XyzAxis.Seed(1)).Run(new Painter())));
    }

    [Fact]
    public void Validate_TwoAxesThatSearchTheSame_IsAFaultAndTwoThatDoNot_IsNone()
    {
        var settings = Plain with { Prompt = "a cat", NegativePrompt = "a dog" };
        Assert.Empty(new XyzGrid(settings, XyzAxis.PromptSearchReplace("cat", "x"), XyzAxis.PromptSearchReplace("dog", "y")).Validate());
        Assert.Contains(
            "2 axes search the same text 'cat'",
            Assert.Single(new XyzGrid(settings, XyzAxis.PromptSearchReplace("cat", "x"), XyzAxis.PromptSearchReplace("cat", "y")).Validate()));
        Assert.StartsWith(
            "The grid has 1 unsupported or wrong value:\n- 2 axes vary the seed",
            Assert.Throws<ArgumentException>(() => new XyzGrid(settings, XyzAxis.Seed(1), XyzAxis.Seed(2)).ThrowIfInvalid()).Message);
        Assert.Empty(new XyzGrid(settings, XyzAxis.Sampler("Euler"), XyzAxis.ScheduleType("Karras")).Validate());
        Assert.Empty(new XyzGrid(settings with { Spacing = SigmaSpacing.Karras }, XyzAxis.Sampler("Euler"), XyzAxis.ScheduleType("Karras")).Validate());
        Assert.Single(new XyzGrid(settings, XyzAxis.Sampler("Euler, LMS Karras"), XyzAxis.ScheduleType("Karras")).Validate());
        var missing = new XyzGrid(new XyzSettings { Prompt = null! }, XyzAxis.PromptSearchReplace("t", "x")).Validate();
        Assert.Equal(2, missing.Count);
        Assert.StartsWith("Prompt: got null, expected a text", missing[0]);
        Assert.StartsWith("The search text 't' is in neither", missing[1]);
        Assert.Equal(["Guidance: got -1, expected 0 or more"], new XyzGrid(settings with { Guidance = -1 }, XyzAxis.Steps(1, 2)).Validate());
    }

    [Fact]
    public void Save_ThreeAxes_NamesEachFileByPlaceAndValues()
    {
        var result = new XyzGrid(Plain, XyzAxis.Seed("1-11"), XyzAxis.Guidance("1.5"), XyzAxis.PromptSearchReplace("cat", "...Dog & \"Cat\"!", "-é")).Run(new Painter());
        var paths = result.Save(_folder.In("new", "folder"));

        Assert.Equal(33, paths.Count);
        Assert.Equal(
            result.Cells.Select(cell => $"z{cell.Z + 1:00}-y01-x{cell.X + 1:00}_prompt-{((string[])["cat", "dog-cat", ""])[cell.Z]}_guidance-1.5_seed-{cell.X + 1}.png"),
            paths.Select(static path => Path.GetFileName(path)!));
        Assert.Equal(("11", "1.5", "-é"), XyzIndex.Load(_folder.In("new", "folder")).Select(static entry => (entry.X, entry.Y, entry.Z)).Last());
    }

    [Fact]
    public void Save_Table_IsOneLineForEachPicture()
    {
        var result = new XyzGrid(Plain with { Prompt = "a, \"b\"\rc" }, XyzAxis.Seed(3, 4)).Run(new Painter());
        result.Save(_folder.Path);
        Assert.Equal(
            "file,x,y,z,prompt,negative_prompt,seed,steps,guidance,sampler,spacing,eta,clip_skip,reading_max_token_length,reading_weighting,checkpoint,lora_weight,width,height,name\n"
            + "x01_seed-3.png,3,,,\"a, \"\"b\"\"\rc\",model's own,3,2,3,,,0,1,,Off,,1,,,painter\n"
            + "x02_seed-4.png,4,,,\"a, \"\"b\"\"\rc\",model's own,4,2,3,,,0,1,,Off,,1,,,painter\n",
            File.ReadAllText(_folder.In("index.csv")));
        var json = File.ReadAllText(_folder.In("index.json"));
        Assert.StartsWith("[\n  {\n    \"file\": \"x01_seed-3.png\",\n    \"x\": \"3\",\n    \"y\": null,\n", json);
        Assert.EndsWith("\"name\": \"painter\"\n  }\n]\n", json);
    }

    [Fact]
    public void Save_SeveralFailures_AreCountedInTheirNotice()
    {
        var painter = new Painter { Fault = static settings => settings.Seed < 3 ? new InvalidDataException("damaged") : null };
        var result = new XyzGrid(Plain, XyzAxis.Seed("1-3")).Run(painter);
        Assert.Contains($"2 cells could not be painted and are not saved in '{_folder.Path}'.", Heard.During(() => result.Save(_folder.Path)));
        Assert.Equal("", Heard.During(() => new XyzGrid(Plain, XyzAxis.Seed("3")).Run(new Painter()).Save(_folder.In("whole"))));
    }

    [Fact]
    public void Result_OfTwoCellsAtOnePlace_IsRefused()
    {
        var grid = new XyzGrid(Plain, XyzAxis.Seed(1));
        var cell = new XyzCell(0, 0, 0, Plain, new RgbImage(1, 1, new byte[3]), false);
        Assert.Throws<ArgumentException>(() => new XyzResult(grid, [cell, cell]));
    }

    [Fact]
    public void Renderer_ThatSaysNothingMore_LeavesSettingsAndFactsAsTheyAre()
    {
        var cell = Assert.Single(new XyzGrid(Plain, XyzAxis.Seed(3)).Run(new Bare()).Cells);
        Assert.Equal(Plain with { Seed = 3 }, cell.Settings);
        Assert.Empty(cell.Facts);
    }

    private static IEnumerable<(int X, int Y, int Z)> Order(XyzGrid grid) => grid.Run(new Painter()).Cells.Select(static cell => (cell.X, cell.Y, cell.Z));

    private sealed class Bare : IXyzRenderer
    {
        public RgbImage Render(XyzSettings settings, CancellationToken cancellationToken) => new(1, 1, new byte[3]);
    }

    private sealed class Painter : IXyzRenderer
    {
        private bool _hasFailed;

        public List<XyzSettings> Calls { get; } = [];

        public bool FailsOnce { get; init; }

        public Func<XyzSettings, Exception?> Fault { get; init; } = static _ => null;

        public Func<IReadOnlyList<XyzSettings>, IReadOnlyList<string>> Warned { get; init; } = static _ => [];

        public IReadOnlyList<string> Warnings(IReadOnlyList<XyzSettings> settings) => Warned(settings);

        public XyzSettings Resolve(XyzSettings settings) => settings with { NegativePrompt = "model's own" };

        public IReadOnlyDictionary<string, string> Facts(XyzSettings settings) => new Dictionary<string, string> { ["name"] = "painter" };

        public RgbImage Render(XyzSettings settings, CancellationToken cancellationToken)
        {
            Calls.Add(settings);
            if (FailsOnce && !_hasFailed)
            {
                _hasFailed = true;
                throw new InvalidDataException("once");
            }

            return Fault(settings) is { } fault ? throw fault : new RgbImage(2, 2, [.. Enumerable.Repeat((byte)Calls.Count, 12)]);
        }
    }

    private sealed class Hearer(Action<XyzProgress> hear) : IProgress<XyzProgress>
    {
        public void Report(XyzProgress value) => hear(value);
    }
}
