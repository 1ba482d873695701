using System.Text.Json;
using LoraNotebooks.Comparison;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;

namespace LoraNotebooks.Tests.Comparison;

public sealed class XyzGridTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("xyz").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Run_CheckpointOnX_IsStillTheOutermostLoop()
    {
        var painter = new Painter();
        var grid = new XyzGrid(
            new XyzSettings { Prompt = "p" },
            x: XyzAxis.Checkpoint("a.safetensors, b.safetensors"),
            y: XyzAxis.Seed("1-3"),
            z: XyzAxis.LoraWeight("0.5, 1"));
        grid.Run(painter);
        Assert.Equal(2, Changes(painter.Calls.Select(c => c.Checkpoint!)));
        Assert.Equal(4, Changes(painter.Calls.Select(c => $"{c.Checkpoint} {c.LoraWeight}")));
        Assert.Equal(12, painter.Calls.Count);
    }

    [Fact]
    public void Run_SameSettings_ArePaintedOnce()
    {
        var painter = new Painter();
        // At weight 0 the checkpoint makes no difference: 2 + 1 different images.
        var grid = new XyzGrid(new XyzSettings { Prompt = "p" }, XyzAxis.LoraWeight(0, 1, 1), XyzAxis.Checkpoint("a", "b"));
        Assert.Contains("6 cells, 3 of them different, 60 denoising steps", grid.Statement);
        var result = grid.Run(painter);
        Assert.Equal(3, painter.Calls.Count);
        Assert.Equal(6, result.Cells.Count);
        Assert.Equal(3, result.Cells.Count(cell => cell.IsReused));
        Assert.Same(result[0, 0], result[0, 1]);
        Assert.NotSame(result[1, 0], result[1, 1]);
    }

    [Fact]
    public void Run_Cells_LieWhereTheirValuesSay()
    {
        var result = new XyzGrid(new XyzSettings { Prompt = "p" }, XyzAxis.Seed("1-3"), XyzAxis.Steps("5,10"), XyzAxis.Guidance("1,2")).Run(new Painter());
        Assert.All(result.Cells, cell =>
        {
            Assert.Equal(cell.X + 1, cell.Settings.Seed);
            Assert.Equal(5 * (cell.Y + 1), cell.Settings.Steps);
            Assert.Equal(cell.Z + 1, cell.Settings.Guidance);
            Assert.Same(cell.Image, result[cell.X, cell.Y, cell.Z]);
        });
    }

    [Fact]
    public void Run_Cancelled_KeepsFinishedCells()
    {
        using var stop = new CancellationTokenSource();
        var reports = new List<XyzProgress>();
        var progress = new Listener(p =>
        {
            reports.Add(p);
            if (p.Done == 2)
            {
                stop.Cancel();
            }
        });
        var result = new XyzGrid(new XyzSettings { Prompt = "p" }, XyzAxis.Seed("1-5")).Run(new Painter(), progress, stop.Token);
        Assert.Equal([(1, 5), (2, 5)], reports.Select(r => (r.Done, r.Total)));
        Assert.False(result.IsComplete);
        Assert.NotNull(result[1]);
        Assert.Null(result[2]);
    }

    [Fact]
    public void Run_CancelledInsideACell_KeepsFinishedCells()
    {
        using var stop = new CancellationTokenSource();
        var painter = new Painter { Before = count => { if (count == 3) { stop.Cancel(); } } };
        Assert.Equal(2, new XyzGrid(new XyzSettings { Prompt = "p" }, XyzAxis.Seed("1-5")).Run(painter, null, stop.Token).Cells.Count);
    }

    [Fact]
    public void SearchReplace_FirstValue_IsSearchedAndKept()
    {
        var grid = new XyzGrid(new XyzSettings { Prompt = "a cat, cat eyes", NegativePrompt = "catch" }, XyzAxis.PromptSearchReplace("cat,\"dog, brown\""));
        Assert.Equal("a cat, cat eyes", grid.At(0).Prompt);
        Assert.Equal("a dog, brown, dog, brown eyes", grid.At(1).Prompt);
        Assert.Equal("dog, brownch", grid.At(1).NegativePrompt);
    }

    [Fact]
    public void SearchReplace_TwoAxes_DoNotHitEachOther()
    {
        var grid = new XyzGrid(new XyzSettings { Prompt = "red hair, blue shirt" }, XyzAxis.PromptSearchReplace("red", "blue"), XyzAxis.PromptSearchReplace("blue", "red"));
        Assert.Equal("blue hair, red shirt", grid.At(1, 1).Prompt);
    }

    [Fact]
    public void SearchReplace_AbsentText_IsAnError()
    {
        var fault = Assert.Throws<ArgumentException>(() => new XyzGrid(new XyzSettings { Prompt = "a Cat" }, XyzAxis.PromptSearchReplace("cat", "dog")).Run(new Painter()));
        Assert.Contains("'cat'", fault.Message);
        Assert.Contains("'a Cat'", fault.Message);
    }

    [Fact]
    public void Validate_SeveralFaults_ListsThemAll()
    {
        var grid = new XyzGrid(
            new XyzSettings { Prompt = "p", Guidance = double.NaN },
            XyzAxis.Steps(5, 0),
            XyzAxis.PromptSearchReplace("absent", "x"),
            XyzAxis.Steps(1, 2));
        var faults = grid.Validate();
        Assert.Equal(4, faults.Count);
        Assert.Contains(faults, f => f.Contains("Guidance: got NaN"));
        Assert.Contains(faults, f => f.Contains("value 2: Steps: got 0"));
        Assert.Contains(faults, f => f.Contains("'absent'"));
        Assert.Contains(faults, f => f.Contains("2 axes vary the steps"));
    }

    [Fact]
    public void Run_RendererRefusesSettings_NothingIsPainted()
    {
        var painter = new Painter { Faults = s => s.Checkpoint == "gone" ? ["'gone' is not there"] : [] };
        var grid = new XyzGrid(new XyzSettings { Prompt = "p" }, XyzAxis.Checkpoint("here", "gone"), XyzAxis.Seed("1-3"));
        var fault = Assert.Throws<ArgumentException>(() => grid.Run(painter));
        Assert.Single(fault.Message.Split("'gone' is not there"), part => part.Contains("The grid has 1 unsupported or wrong value:\n- "));
        Assert.Empty(painter.Calls);
    }

    [Fact]
    public void Checkpoint_Labels_AreAsShortAsTheyCanBe()
    {
        Assert.Equal(["epoch-1", "epoch-2"], XyzAxis.Checkpoint("runs/a/epoch-1.safetensors", "runs/a/epoch-2.safetensors").Labels);
        Assert.Equal(["a/last", "b/last"], XyzAxis.Checkpoint("runs/a/last.safetensors", "runs/b/last.safetensors").Labels);
    }

    [Fact]
    public void Sampler_Names_AreReadInAnyCaseAndListedWhenUnknown()
    {
        Assert.Equal(["DDIM", "Euler a", "DPM++ 2M Karras"], XyzAxis.Sampler("ddim, euler A, DPM++ 2M Karras").Labels);
        Assert.Contains("DPM++ 2M SDE", Assert.Throws<FormatException>(() => XyzAxis.Sampler("DPM adaptive")).Message);
        Assert.Contains("Exponential", Assert.Throws<FormatException>(() => XyzAxis.ScheduleType("Align")).Message);
    }

    [Fact]
    public void Sampler_NameWithSpacing_SetsItAndOneWithoutKeepsTheSettings()
    {
        var grid = new XyzGrid(new XyzSettings { Prompt = "p", Spacing = SigmaSpacing.Exponential }, XyzAxis.Sampler("LMS, LMS Karras"), XyzAxis.ClipSkip("1-2"));

        Assert.Equal((SamplerKind.Lms, SigmaSpacing.Exponential, 1), (grid.At(0).Sampler, grid.At(0).Spacing, grid.At(0).ClipSkip));
        Assert.Equal((SigmaSpacing.Karras, 2), (grid.At(1, 1).Spacing, grid.At(1, 1).ClipSkip));
    }

    [Fact]
    public void ScheduleType_BesideSamplers_IsReusedWhereItMeansNothingAndMustNotBeNamedTwice()
    {
        var grid = new XyzGrid(new XyzSettings { Prompt = "p" }, XyzAxis.Sampler("DDIM, Euler"), XyzAxis.ScheduleType("Normal, Karras"));
        Assert.Contains("4 cells, 3 of them different", grid.Statement);
        Assert.Equal(["Normal", "Karras"], grid.Y!.Labels);

        var twice = new XyzGrid(new XyzSettings { Prompt = "p" }, XyzAxis.Sampler("Euler Karras, Euler"), XyzAxis.ScheduleType("Normal"));
        Assert.Contains("names schedule types", Assert.Single(twice.Validate()));
    }

    [Fact]
    public void Axis_WithoutValues_IsAnError() => Assert.Contains("no values", Assert.Throws<ArgumentException>(() => XyzAxis.Seed([])).Message);

    [Fact]
    public void Save_WritesImagesAndIndexes()
    {
        const string hostile = "../../up, \"quoted\"\n=1+1";
        var result = new XyzGrid(new XyzSettings { Prompt = "a cat" }, XyzAxis.LoraWeight(-0.5, 1), XyzAxis.PromptSearchReplace("cat", hostile)).Run(new Painter());
        var paths = result.Save(_folder);
        Assert.Equal(4, paths.Distinct().Count());
        Assert.Contains(paths, p => Path.GetFileName(p) == "y01-x02_prompt-cat_lora-weight-1.png");
        Assert.Contains(paths, p => Path.GetFileName(p).Contains("lora-weight--0.5"));
        Assert.All(paths, p =>
        {
            Assert.Equal(_folder, Path.GetDirectoryName(p));
            Assert.Equal(4, RgbImage.Load(p).Width);
        });
        Assert.Equal(6, Directory.GetFiles(_folder).Length);

        using var index = JsonDocument.Parse(File.ReadAllText(Path.Combine(_folder, "index.json")));
        Assert.Equal(4, index.RootElement.GetArrayLength());
        Assert.Contains(index.RootElement.EnumerateArray(), e => e.GetProperty("prompt").GetString() == "a " + hostile && e.GetProperty("lora_weight").GetDouble() == -0.5);
        Assert.Contains("\"a ../../up, \"\"quoted\"\"\n=1+1\"", File.ReadAllText(Path.Combine(_folder, "index.csv")));
    }

    private static int Changes(IEnumerable<string> values)
    {
        var all = values.ToArray();
        return 1 + all.Zip(all.Skip(1)).Count(pair => pair.First != pair.Second);
    }

    private sealed class Painter : IXyzRenderer
    {
        public List<XyzSettings> Calls { get; } = [];

        public Action<int>? Before { get; init; }

        public Func<XyzSettings, IReadOnlyList<string>> Faults { get; init; } = _ => [];

        public IReadOnlyList<string> Validate(XyzSettings settings) => Faults(settings);

        public RgbImage Render(XyzSettings settings, CancellationToken cancellationToken)
        {
            Calls.Add(settings);
            Before?.Invoke(Calls.Count);
            cancellationToken.ThrowIfCancellationRequested();
            return new RgbImage(4, 4, new byte[48]);
        }
    }

    private sealed class Listener(Action<XyzProgress> hear) : IProgress<XyzProgress>
    {
        public void Report(XyzProgress value) => hear(value);
    }
}
