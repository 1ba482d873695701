using LoraNotebooks.Adapters;
using LoraNotebooks.Comparison;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Tests.Diffusion;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Comparison;

public sealed class StableDiffusionRendererTests : IDisposable
{
    private static readonly LoraConfig Config = new() { Rank = 2, TargetModules = ["to_q", "to_k", "to_v"], Initialization = LoraInitialization.Gaussian };
    private static readonly XyzSettings Settings = new() { Prompt = "portrait, blue shirt", Steps = 2 };

    private readonly string _folder = Directory.CreateTempSubdirectory("xyz").FullName;
    private readonly StableDiffusionPipeline _pipeline = TinyPipeline.Create();

    public void Dispose()
    {
        _pipeline.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public void Run_WeightAxis_IsTheBaseAtZeroAndTheLoraAtOne()
    {
        using var lora = Lora("mika", 1);
        lora.Weight = 0.5;
        var result = new XyzGrid(Settings, XyzAxis.LoraWeight(0, 0.5, 1), XyzAxis.Seed(3, 4)).Run(_pipeline, lora);

        Assert.Equal((0.5, true), (lora.Weight, lora.Enabled));
        Assert.Equal(Paint(4), result[1, 1]!.Pixels.ToArray());
        lora.Weight = 1;
        Assert.Equal(Paint(3), result[2, 0]!.Pixels.ToArray());
        lora.Enabled = false;
        Assert.Equal(Paint(3), result[0, 0]!.Pixels.ToArray());
        Assert.NotEqual(result[0, 0]!.Pixels.ToArray(), result[2, 0]!.Pixels.ToArray());
    }

    [Fact]
    public void Run_CheckpointAxis_LoadsEachFileAndLeavesThePipelineAsItWas()
    {
        var before = Paint(0);
        string[] files = [Saved("a", 1), Saved("b", 2)];
        var result = new XyzGrid(Settings, XyzAxis.Checkpoint(files), XyzAxis.LoraWeight(0, 1)).Run(_pipeline);

        Assert.Equal(before, Paint(0));
        Assert.Equal(before, result[0, 0]!.Pixels.ToArray());
        Assert.Equal(before, result[1, 0]!.Pixels.ToArray());
        using (StableDiffusionLora.Load(_pipeline, files[1]))
        {
            Assert.Equal(Paint(0), result[1, 1]!.Pixels.ToArray());
        }

        Assert.NotEqual(result[0, 1]!.Pixels.ToArray(), result[1, 1]!.Pixels.ToArray());
    }

    [Fact]
    public void Run_WithAnAttachedLora_ACheckpointTakesItsPlace()
    {
        string[] files = [Saved("a", 1)];
        var alone = new XyzGrid(Settings, XyzAxis.Checkpoint(files)).Run(_pipeline)[0]!.Pixels.ToArray();
        using var other = Lora("other", 2);
        Assert.Equal(alone, new XyzGrid(Settings, XyzAxis.Checkpoint(files)).Run(_pipeline, other)[0]!.Pixels.ToArray());
        Assert.Equal((1, true), (other.Weight, other.Enabled));
    }

    [Fact]
    public void Run_Faults_AreListedBeforeAnythingIsPainted()
    {
        var grid = new XyzGrid(Settings with { Width = 17 }, XyzAxis.Checkpoint("gone.safetensors"), XyzAxis.Seed(1, 2));
        var fault = Assert.Throws<ArgumentException>(() => grid.Run(_pipeline));
        Assert.Contains("gone.safetensors", fault.Message);
        Assert.Contains("Width: got 17", fault.Message);
        Assert.Equal(3, fault.Message.Split('\n').Length);

        var weights = Assert.Throws<ArgumentException>(() => new XyzGrid(Settings, XyzAxis.LoraWeight("0-1 [3]")).Run(_pipeline));
        Assert.Contains("LoraWeight: got 0.5, expected 0 or 1 without a LoRA", weights.Message);
    }

    [Theory]
    [InlineData(null, SigmaSpacing.Timesteps, nameof(SamplerKind.Ddim), null)]
    [InlineData(nameof(SamplerKind.Euler), SigmaSpacing.Timesteps, nameof(SamplerKind.Euler), SigmaSpacing.Timesteps)]
    [InlineData(nameof(SamplerKind.DpmPlusPlus2M), SigmaSpacing.Karras, nameof(SamplerKind.DpmPlusPlus2M), SigmaSpacing.Karras)]
    public void Run_SavedGrid_NamesWhatTheModelDecidedAndIsDrawnAgainFromItsIndex(
        string? sampler, SigmaSpacing ofTheModel, string expectedSampler, SigmaSpacing? expectedSpacing)
    {
        var scheduler = TinyPipeline.Scheduler with { UseKarrasSigmas = ofTheModel == SigmaSpacing.Karras };
        var own = new StableDiffusionPipeline(_pipeline.Text, _pipeline.UNet, _pipeline.Vae, scheduler);
        using var lora = Lora("mika", 1);
        var result = new XyzGrid(Settings with { Sampler = sampler is null ? null : SamplerKind.Named(sampler) }, XyzAxis.LoraWeight(0, 0.7)).Run(own, lora);
        result.Save(_folder);

        var entries = XyzIndex.Load(_folder);

        Assert.All(entries.Select(static entry => entry.Settings), settings =>
            Assert.Equal((expectedSampler, expectedSpacing, 16, 16), (settings.Sampler?.Name, settings.Spacing, settings.Width, settings.Height)));
        Assert.Equal([null, "mika"], entries.Select(static entry => entry.Facts.GetValueOrDefault("lora")));

        // On a pipeline that leaves other things to its own settings.
        scheduler = scheduler with { ClassName = "EulerDiscreteScheduler", UseKarrasSigmas = ofTheModel != SigmaSpacing.Karras };
        using var renderer = new StableDiffusionRenderer(new StableDiffusionPipeline(_pipeline.Text, _pipeline.UNet, _pipeline.Vae, scheduler), lora);
        Assert.All(entries, entry =>
            Assert.Equal(RgbImage.Load(Path.Combine(_folder, entry.File)).Pixels.ToArray(), renderer.Render(entry.Settings, default).Pixels.ToArray()));
    }

    [Fact]
    public void Resolve_SolverThatNoNameStandsFor_LeavesTheSamplerToTheModel()
    {
        var scheduler = TinyPipeline.Scheduler with { ClassName = "DPMSolverMultistepScheduler", SolverOrder = 1 };
        using var renderer = new StableDiffusionRenderer(new StableDiffusionPipeline(_pipeline.Text, _pipeline.UNet, _pipeline.Vae, scheduler));
        Assert.Null(renderer.Resolve(Settings).Sampler);
        Assert.Equal(SigmaSpacing.Timesteps, renderer.Resolve(Settings).Spacing);
    }

    [Fact]
    public void Run_LoraFromAFile_IsNotedByItsHash()
    {
        using var lora = StableDiffusionLora.Load(_pipeline, Saved("a", 1));
        var cell = Assert.Single(new XyzGrid(Settings, XyzAxis.Seed(1)).Run(_pipeline, lora).Cells);
        Assert.Equal(("a", lora.Metadata["sshs_model_hash"]), (cell.Facts["lora"], cell.Facts["lora_hash"]));
        Assert.Empty(Assert.Single(new XyzGrid(Settings, XyzAxis.Checkpoint(Saved("b", 2))).Run(_pipeline, lora).Cells).Facts);
    }

    [Fact]
    public void Run_ManyCells_LeavesNoTensors()
    {
        string[] files = [Saved("a", 1), Saved("b", 2)];
        var grid = new XyzGrid(Settings, XyzAxis.Checkpoint(files), XyzAxis.Seed("1-2"));
        grid.Run(_pipeline);
        var before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        grid.Run(_pipeline);
        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    [Theory]
    [InlineData(nameof(XyzSettings.Width), 17, "Width: got 17, expected a multiple of 2, by which")]
    [InlineData(nameof(XyzSettings.Height), 15, "Height: got 15, expected a multiple of 2, by which")]
    [InlineData(nameof(XyzSettings.Height), 18, null)]
    [InlineData(nameof(XyzSettings.Width), null, null)]
    [InlineData(nameof(XyzSettings.Checkpoint), "gone", "Checkpoint: got 'gone', which is not there (")]
    [InlineData(nameof(XyzSettings.LoraWeight), 0.5, "LoraWeight: got 0.5, expected 0 or 1 without a LoRA")]
    [InlineData(nameof(XyzSettings.LoraWeight), 0.0, null)]
    [InlineData(nameof(XyzSettings.LoraWeight), 1.0, null)]
    [InlineData(nameof(XyzSettings.Steps), 0, "Steps: got 0")]
    public void Validate_WhatThePipelineCannotPaint_IsNamed(string property, object? value, string? expected)
    {
        using var renderer = new StableDiffusionRenderer(_pipeline);
        var settings = Settings with { };
        typeof(XyzSettings).GetProperty(property)!.SetValue(settings, value);
        Assert.Equal(expected is null ? 0 : 1, renderer.Validate(settings).Count);
        Assert.StartsWith(expected ?? "", renderer.Validate(settings).FirstOrDefault() ?? "");
    }

    [Fact]
    public void Validate_WithALoraOrACheckpoint_TakesAnyWeight()
    {
        using var lora = Lora("mika", 1);
        using var renderer = new StableDiffusionRenderer(_pipeline, lora);
        using var without = new StableDiffusionRenderer(_pipeline);
        Assert.Empty(renderer.Validate(Settings with { LoraWeight = 0.5 }));
        Assert.Empty(without.Validate(Settings with { LoraWeight = 0.5, Checkpoint = Saved("a", 1) }));
        Assert.Empty(without.Validate(Settings with { LoraWeight = 0.5, Checkpoint = _folder }));
    }

    /// <summary>A file is read when it is first asked for, and not for a weight of 0; it is let go for another, and in the end.</summary>
    [Fact]
    public void Render_Checkpoints_AreReadOnceAndLetGo()
    {
        var (a, b, before) = (Saved("a", 1), Saved("b", 2), Paint(0));
        using (var renderer = new StableDiffusionRenderer(_pipeline))
        {
            Assert.Equal(before, Render(renderer, Settings with { Checkpoint = "gone", LoraWeight = 0 }));
            var first = Render(renderer, Settings with { Checkpoint = a });
            File.Delete(a);
            Assert.Equal(first, Render(renderer, Settings with { Checkpoint = a }));
            Assert.Equal(before, Render(renderer, Settings with { Checkpoint = a, LoraWeight = 0 }));
            Assert.Equal(before, Render(renderer, Settings));
            Assert.NotEqual(first, Render(renderer, Settings with { Checkpoint = a, LoraWeight = 0.5 }));
            Assert.Equal(first, Render(renderer, Settings with { Checkpoint = a }));
            var second = Render(renderer, Settings with { Checkpoint = b });
            Assert.NotEqual(first, second);
            Assert.Throws<FileNotFoundException>(() => Render(renderer, Settings with { Checkpoint = a }));
            Assert.Equal(before, Render(renderer, Settings));
            Assert.Equal(second, Render(renderer, Settings with { Checkpoint = b }));
        }

        Assert.Equal(before, Paint(0));
        Assert.Empty(StableDiffusionLora.BesideNetworksOf(_pipeline));
    }

    [Theory]
    [InlineData(0.3, true)]
    [InlineData(0.3, false)]
    [InlineData(0.0, true)]
    public void Dispose_GivesTheLoraBackAsItWas(double weight, bool enabled)
    {
        using var lora = Lora("mika", 1);
        (lora.Weight, lora.Enabled) = (weight, enabled);
        using (var renderer = new StableDiffusionRenderer(_pipeline, lora))
        {
            Render(renderer, Settings with { LoraWeight = 0.8 });
            Assert.Equal((0.8, true), (lora.Weight, lora.Enabled));
            Render(renderer, Settings with { LoraWeight = 0 });
            Assert.False(lora.Enabled);
            Assert.Equal("mika", lora.Name);
        }

        Assert.Equal((weight, enabled), (lora.Weight, lora.Enabled));
    }

    [Fact]
    public void Facts_OfAModelFromAFolder_NameIt()
    {
        _pipeline.Save(Path.Combine(_folder, "base"));
        using var loaded = StableDiffusionPipeline.FromFolder(Path.Combine(_folder, "base"));
        using var lora = StableDiffusionLora.Create(loaded, "mika", Config, null, 1);
        using var renderer = new StableDiffusionRenderer(loaded, lora);
        Assert.Equal(new Dictionary<string, string> { ["model"] = Path.Combine(_folder, "base"), ["lora"] = "mika" }, renderer.Facts(Settings));
        Assert.Equal(["model"], renderer.Facts(Settings with { LoraWeight = 0 }).Keys);
        Assert.Equal(["model"], renderer.Facts(Settings with { Checkpoint = "a" }).Keys);
        using var alone = new StableDiffusionRenderer(_pipeline);
        Assert.Empty(alone.Facts(Settings));
    }

    [Fact]
    public void Resolve_WhatIsGiven_Stays()
    {
        using var renderer = new StableDiffusionRenderer(_pipeline);
        var given = Settings with { Sampler = SamplerKind.Lms, Spacing = SigmaSpacing.Exponential, Width = 24, Height = 20, Seed = 5 };
        Assert.Equal(given, renderer.Resolve(given));
        Assert.Equal((16, 20), (renderer.Resolve(given with { Width = null }).Width, renderer.Resolve(given with { Width = null }).Height));
        Assert.Equal((24, 16), (renderer.Resolve(given with { Height = null }).Width, renderer.Resolve(given with { Height = null }).Height));
    }

    /// <summary>Each reading for itself, and the negative prompt only where guidance reads it; told here, it is not told again when it is painted.</summary>
    [Fact]
    public void Warnings_OfAllCells_AreByReadingAndOnlyOfWhatIsRead()
    {
        using var renderer = new StableDiffusionRenderer(_pipeline);
        var many = string.Join(", ", Enumerable.Repeat("long hair", 8));
        var cut = Settings with { Prompt = many, Guidance = 1, NegativePrompt = "no " + many };
        var whole = cut with { Reading = new() { MaxTokenLength = 60 } };

        var warnings = renderer.Warnings([Settings, cut, cut with { Seed = 2 }, whole]);

        Assert.StartsWith("1 prompt longer than the text encoder sees", Assert.Single(warnings));
        Assert.Equal("", Heard.During(() => Render(renderer, cut with { NegativePrompt = "" })));
        Assert.StartsWith("1 negative prompt longer", Assert.Single(renderer.Warnings([Settings with { NegativePrompt = many }])));
        Assert.Contains("(hair:1.3) is text here", Assert.Single(renderer.Warnings([Settings with { Prompt = "(hair:1.3)" }])));
        Assert.Empty(renderer.Warnings([Settings with { Prompt = "(hair:1.3)", Reading = new() { Weighting = LoraNotebooks.Models.Language.PromptWeighting.Scale } }]));
    }

    private static byte[] Render(StableDiffusionRenderer renderer, XyzSettings settings) => renderer.Render(settings, default).Pixels.ToArray();

    private StableDiffusionLora Lora(string name, long seed)
    {
        var lora = StableDiffusionLora.Create(_pipeline, name, Config, null, seed);
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        using var generator = new Generator((ulong)seed);
        foreach (var parameter in lora.UNetParameters)
        {
            // A new LoRA changes nothing; this one does.
            parameter.copy_(randn(parameter.shape, generator: generator));
        }

        return lora;
    }

    private string Saved(string name, long seed)
    {
        var path = Path.Combine(_folder, name + ".safetensors");
        using var lora = Lora(name, seed);
        lora.SaveKohya(path);
        return path;
    }

    private byte[] Paint(long seed) =>
        _pipeline.Generate(new() { Prompt = Settings.Prompt, Steps = Settings.Steps, Guidance = Settings.Guidance, Seed = seed })[0].Pixels.ToArray();
}
