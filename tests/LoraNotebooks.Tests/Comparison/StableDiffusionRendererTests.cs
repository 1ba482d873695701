using LoraNotebooks.Adapters;
using LoraNotebooks.Comparison;
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
        Assert.Contains("17 pixels", fault.Message);
        Assert.Equal(3, fault.Message.Split('\n').Length);

        var weights = Assert.Throws<ArgumentException>(() => new XyzGrid(Settings, XyzAxis.LoraWeight("0-1 [3]")).Run(_pipeline));
        Assert.Contains("0.5, and there is no LoRA", weights.Message);
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
