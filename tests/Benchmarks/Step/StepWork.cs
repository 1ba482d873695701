using System.Diagnostics;
using System.Globalization;
using LoraNotebooks.Adapters;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace Benchmarks.Step;

/// <summary>
/// The work itself, in a process of its own, which does what it reads from its input line by line and answers each with seconds or bytes. It uses
/// only what earlier versions of the library have, too, so that it can be compiled against one of them.
/// </summary>
internal sealed class StepWork : IDisposable
{
    private const int TextTokens = 77;
    private const int Rank = 8;

    private static readonly UNetConfig Sd15 = new() { CrossAttentionDim = 768, SampleSize = 64 };

    private static readonly UNetConfig Xl = new()
    {
        SampleSize = 128,
        BlockOutChannels = [320, 640, 1280],
        DownBlockTypes = ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        UpBlockTypes = ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        TransformerLayersPerBlock = new([1, 2, 10]),
        AttentionHeadDim = new([5, 10, 20]),
        CrossAttentionDim = 2048,
        UseLinearProjection = true,
        AdditionEmbedType = "text_time",
        AdditionTimeEmbedDim = 256,
        ProjectionClassEmbeddingsInputDim = 2816,
    };

    private readonly StableDiffusionPipeline? _pipeline;
    private readonly AdaptedModel _adapted;
    private readonly TorchSharp.Modules.AdamW _optimizer;

    public StepWork(StepCase of)
    {
        Case = of;
        if (of.Model == "base")
        {
            _pipeline = StableDiffusionPipeline.FromFolder(BaseModel.Folder, of.ScalarType);
            UNet = _pipeline.UNet;
        }
        else
        {
            UNet = new UNet2DConditionModel(of.Model == "xl" ? Xl : Sd15);
            UNet.to(of.ScalarType);
            UNet.eval();
        }

        foreach (var parameter in UNet.parameters())
        {
            parameter.requires_grad = false;
        }

        using var generator = new Generator(3);
        _adapted = new AdaptedModel(UNet);
        string[] attention = ["to_q", "to_k", "to_v", "to_out.0"];
        ModuleSelection targets = of.Layers == "all" ? [.. attention, "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out", "conv1", "conv2", "conv"] : [.. attention];
        _adapted.Add("lora", new LoraConfig { Rank = Rank, Alpha = Rank, TargetModules = targets }, generator);
        _optimizer = optim.AdamW(_adapted.TrainableParameters("lora"), 1e-4);
    }

    /// <summary>What is trained, and on what.</summary>
    public StepCase Case { get; }

    /// <summary>The network.</summary>
    public UNet2DConditionModel UNet { get; }

    private int Side => Case.Model == "base" ? Case.Pixels / 4 : Case.Pixels / 8;

    /// <summary>Answers what it is asked until its input ends.</summary>
    /// <param name="arguments">The case's.</param>
    /// <param name="other">Answers what is not asked of both versions; default nothing else is.</param>
    public static void Answer(IReadOnlyList<string> arguments, Func<StepWork, string, string?>? other = null)
    {
        NativeRuntime.Prepare();
        using var work = new StepWork(StepCase.Parse(arguments));

        // Freed memory stays in the process, so that only the first steps show what they need.
        var weights = Machine.StartPeak();
        Console.WriteLine("ready");
        while (Console.ReadLine() is { } question)
        {
            Console.WriteLine(question switch
            {
                "step" => Text(Time(work.Step)),
                "predict" => Text(Time(work.Predict)),
                "draw" => Text(Time(work.Draw)),
                "peak" => Text(Machine.Peak() - weights),
                _ => other?.Invoke(work, question) ?? throw new ArgumentException($"Cannot answer '{question}'."),
            });
        }
    }

    /// <summary>One step: prediction, loss, gradients, AdamW.</summary>
    public void Step()
    {
        using var step = NewDisposeScope();
        var (x, t, c) = Inputs(Case.Batch, Side);
        _optimizer.zero_grad();
        (UNet.call(x, t, c) - x).to(float32).square().mean().backward();
        _optimizer.step();
    }

    /// <summary>One prediction under guidance: of each picture, one with and one without the prompt.</summary>
    public void Predict() => Predict(Side, 2 * Case.Batch);

    /// <summary>One prediction, forward only.</summary>
    /// <param name="side">The side of the latents.</param>
    /// <param name="images">The pictures.</param>
    public void Predict(int side, int images)
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        var (x, t, c) = Inputs(images, side);
        UNet.call(x, t, c);
    }

    /// <summary>15 pictures of 20 steps under guidance, from prompt to pixels; only of the embedded base.</summary>
    public void Draw() => _pipeline!.Generate(new GenerationOptions { Prompt = "a portrait, red hair", Steps = 20, Count = 15, Seed = 1 });

    /// <inheritdoc/>
    public void Dispose()
    {
        _optimizer.Dispose();
        _adapted.Dispose();
        if (_pipeline is null)
        {
            UNet.Dispose();
        }

        _pipeline?.Dispose();
    }

    /// <summary>The seconds that some work takes.</summary>
    public static double Time(Action work)
    {
        var clock = Stopwatch.StartNew();
        work();
        return clock.Elapsed.TotalSeconds;
    }

    private (Tensor X, Tensor T, Conditioning C) Inputs(int images, int side)
    {
        using var generator = new Generator(2);
        var type = Case.ScalarType;
        var text = randn([images, TextTokens, UNet.Config.CrossAttentionDim[0]], generator: generator).to(type);
        return (
            randn([images, 4, side, side], generator: generator).to(type),
            tensor(500L).reshape(1),
            UNet.Config.HasAddedConditions
                ? new(text, randn([images, 1280], generator: generator).to(type), zeros(images, 6))
                : new(text));
    }

    private static string Text(IFormattable value) => value.ToString(null, CultureInfo.InvariantCulture);
}
