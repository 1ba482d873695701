using System.Diagnostics;
using System.Globalization;
using System.Runtime.CompilerServices;
using LoraNotebooks.Adapters;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Models.Language;
using LoraNotebooks.Tensors;
using static TorchSharp.torch;

namespace Benchmarks;

/// <summary>
/// A UNet of Stable Diffusion 1.5's size with random weights: how long it takes to load, to predict and to train a LoRA, what that is of the
/// processor's measured GEMM peak, where the rest goes, and whether other ways to attend or to lay out memory would be faster.
/// </summary>
internal static class FullSizeUNet
{
    private const int UsualRuns = 5;
    private const int TextTokens = 77;
    private const double LeastPeak = 10e9;

    private static int s_runs = UsualRuns;

    private static readonly UNetConfig Config = new() { CrossAttentionDim = 768, SampleSize = 64 };

    /// <param name="pixels">The side of the images; latents have an eighth of it.</param>
    /// <param name="types">The types of the weights to measure.</param>
    public static void Run(int pixels, IReadOnlyList<ScalarType> types)
    {
        NativeRuntime.Load();
        Console.WriteLine($"SD 1.5 UNet at {pixels} pixels; {get_num_threads()} threads of {Environment.ProcessorCount} processors; load {Machine.Load()}");
        foreach (var type in types)
        {
            var folder = Directory.CreateTempSubdirectory("lora-unet").FullName;
            try
            {
                Measure(pixels / 8, type, folder);
            }
            finally
            {
                Directory.Delete(folder, recursive: true);
            }
        }
    }

    private static void Measure(int side, ScalarType type, string folder)
    {
        Console.WriteLine($"\n{type}");
        using (var random = RandomModel())
        {
            random.Save(folder, type);
        }

        GC.Collect();
        GC.WaitForPendingFinalizers();
        var clock = Stopwatch.StartNew();
        using var pipeline = StableDiffusionPipeline.FromFolder(folder, type);
        var bytes = new DirectoryInfo(folder).EnumerateFiles("*.safetensors", SearchOption.AllDirectories).Sum(static f => f.Length);
        Line("load", $"{clock.Elapsed.TotalSeconds:F2} s for {bytes / 1e9:F2} GB of weights (its memory: see the benchmark load)");

        var unet = pipeline.UNet;
        var peak = GemmPeak(type);
        Line("GEMM peak", $"{peak / 1e9:F1} GFLOP/s");
        if (peak < LeastPeak)
        {
            Console.WriteLine(
                $"  This processor has no fast products in {type}: everything is run once, and the other ways are not tried. Compute in another type here.");
            s_runs = 1;
        }

        var flops = Predict(unet, side, type, peak);
        Generate(pipeline, side);
        if (s_runs > 1)
        {
            AttentionWays(side, type);
        }

        Train(unet, side, type, peak, flops / 2);
        s_runs = UsualRuns;
        Line("load at the end", Machine.Load());
    }

    /// <summary>A whole model of Stable Diffusion 1.5's sizes, weights random.</summary>
    private static StableDiffusionPipeline RandomModel()
    {
        var text = new ClipTextModel(new ClipTextConfig { HiddenSize = 768, IntermediateSize = 3072, NumHiddenLayers = 12, NumAttentionHeads = 12 });
        var vae = new AutoencoderKL(new AutoencoderKLConfig
        {
            DownBlockTypes = [.. Enumerable.Repeat("DownEncoderBlock2D", 4)],
            UpBlockTypes = [.. Enumerable.Repeat("UpDecoderBlock2D", 4)],
            BlockOutChannels = [128, 256, 512, 512],
            LayersPerBlock = 2,
        });
        return new(
            ClipTokenizer.FromFolder(Path.Combine(FixturesFolder(), "sd15-tiny", "tokenizer")),
            text,
            new UNet2DConditionModel(Config, new Generator(1)),
            vae,
            SchedulerConfig.StableDiffusion);
    }

    private static string FixturesFolder([CallerFilePath] string file = "") => Path.Combine(Path.GetDirectoryName(file)!, "..", "Fixtures");

    /// <summary>A picture from prompt to pixels: text, steps under guidance, decoding.</summary>
    private static void Generate(StableDiffusionPipeline pipeline, int side)
    {
        var options = new GenerationOptions
        {
            Prompt = "a portrait",
            Width = 8 * side,
            Height = 8 * side,
            Steps = s_runs > 1 ? 10 : 1,
            Sampler = SamplerKind.DpmPlusPlus2M,
        };
        var before = Machine.StartPeak();
        var clock = Stopwatch.StartNew();
        pipeline.Generate(options);
        Line(
            "generation",
            $"{clock.Elapsed.TotalSeconds:F1} s for {options.Steps} step{(options.Steps > 1 ? "s" : "")} under guidance and the decoding, "
                + $"{(Machine.Peak() - before) / 1e6:F0} MB beside the weights");
    }

    /// <summary>One prediction under guidance: a batch of two.</summary>
    private static double Predict(UNet2DConditionModel unet, int side, ScalarType type, double peak)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var (x, t, c) = Inputs(2, side, type);
        WarmUp(() => unet.call(x, t, c).Dispose());
        var before = Machine.StartPeak();
        double? median = s_runs > 1 ? Median(() => unet.call(x, t, c).Dispose()) : null;
        var profile = new ModuleProfile(unet);
        var clock = Stopwatch.StartNew();
        unet.call(x, t, c).Dispose();
        var total = clock.Elapsed.TotalSeconds;
        var (seconds, memory) = (median ?? total, Machine.Peak() - before);
        Line(
            "forward, batch 2",
            $"{seconds:F2} s, {profile.Flops / 1e9:F0} GFLOP, {100 * profile.Flops / seconds / peak:F0} % of the GEMM peak, "
                + $"{memory / 1e6:F0} MB beside the weights");
        foreach (var (kind, time, flops) in profile.Kinds)
        {
            Line($"  {kind}", $"{100 * time / total,5:F1} % of the time{(flops > 0 ? $", {100 * flops / time / peak,4:F0} % of the peak" : "")}");
        }

        Line("  elementwise, copies, rest", $"{100 * (total - profile.Kinds.Sum(static k => k.Seconds)) / total,5:F1} % of the time");
        profile.Dispose();
        Layouts("layouts, forward", unet, () => unet.call(x, t, c).Dispose());
        return profile.Flops;
    }

    /// <summary>Steps of a LoRA of rank 8 on the attention layers, batch 1.</summary>
    private static void Train(UNet2DConditionModel unet, int side, ScalarType type, double peak, double flops)
    {
        using var scope = NewDisposeScope();
        using var adapted = new AdaptedModel(unet);
        using var generator = new Generator(3);
        adapted.Add("lora", new LoraConfig { Rank = 8, Alpha = 8, TargetModules = ["to_q", "to_k", "to_v", "to_out.0"] }, generator);
        using var optimizer = optim.AdamW(adapted.TrainableParameters("lora"), 1e-4);
        var (x, t, c) = Inputs(1, side, type);
        var target = randn_like(x);
        WarmUp(() => Step());
        var before = Machine.StartPeak();
        List<(double Forward, double Whole)> steps = [.. Enumerable.Range(0, s_runs).Select(_ => Step())];
        var (forward, whole) = (Middle([.. steps.Select(static s => s.Forward)]), Middle([.. steps.Select(static s => s.Whole)]));

        // Frozen weights need no gradient of their own: backward costs about one more forward, through the inputs alone.
        Line(
            "LoRA step, batch 1",
            $"{whole:F2} s (forward {forward:F2}, backward and AdamW {whole - forward:F2}), "
                + $"{100 * 2 * flops / whole / peak:F0} % of the GEMM peak at 2 × {flops / 1e9:F0} GFLOP, "
                + $"{(Machine.Peak() - before) / 1e6:F0} MB beside the weights");
        Layouts("layouts, LoRA step", unet, () => Step());

        (double Forward, double Whole) Step()
        {
            using var step = NewDisposeScope();
            var clock = Stopwatch.StartNew();
            optimizer.zero_grad();
            var loss = (unet.call(x, t, c) - target).to(float32).square().mean();
            var seconds = clock.Elapsed.TotalSeconds;
            loss.backward();
            optimizer.step();
            return (seconds, clock.Elapsed.TotalSeconds);
        }
    }

    /// <summary>The same work with the convolutions' kernels contiguous and in channels_last, by turns.</summary>
    private static void Layouts(string name, UNet2DConditionModel unet, Action work)
    {
        if (s_runs == 1)
        {
            return;
        }

        var (contiguous, last) = (new List<double>(), new List<double>());
        for (var i = 0; i < 3; i++)
        {
            SetLayout(unet, static kernel => kernel.contiguous());
            work();
            contiguous.Add(Median(work, 2));
            SetLayout(unet, static kernel => kernel.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2));
            work();
            last.Add(Median(work, 2));
        }

        Line(name, $"channels_last {Middle(last):F2} s, contiguous {Middle(contiguous):F2} s: {Middle(last) / Middle(contiguous):F2} × the time");
    }

    private static void SetLayout(nn.Module unet, Func<Tensor, Tensor> layout)
    {
        foreach (var convolution in unet.modules().OfType<TorchSharp.Modules.Conv2d>())
        {
            using var scope = NewDisposeScope();
            using var old = convolution.weight!;
            var weight = new TorchSharp.Modules.Parameter(layout(old.detach()).clone(), old.requires_grad);
            convolution.weight = weight;
            weight.DetachFromDisposeScope();
        }
    }

    /// <summary>Fused attention against softmax(QKᵀ)·V written out, at every level's shapes, by turns; forward, and forward with backward.</summary>
    private static void AttentionWays(int side, ScalarType type)
    {
        Line("attention", "heads × tokens × context × head size: plain ms, fused ms, ratio; with backward: plain ms, fused ms, ratio");
        for (var level = 0; level < 4; level++)
        {
            var tokens = (side >> level) * (side >> level);
            var head = Config.BlockOutChannels[level] / Config.AttentionHeadDim[level];
            foreach (var context in new[] { tokens, TextTokens })
            {
                var inference = Ways(2, tokens, context, head, type, backward: false);
                var training = Ways(1, tokens, context, head, type, backward: true);
                Line(
                    $"  8 × {tokens} × {context} × {head}",
                    $"{inference.Plain,8:F2} {inference.Fused,8:F2} {inference.Fused / inference.Plain,6:F2}    "
                        + $"{training.Plain,8:F2} {training.Fused,8:F2} {training.Fused / training.Plain,6:F2}");
            }
        }
    }

    private static (double Plain, double Fused) Ways(int batch, long tokens, long context, int head, ScalarType type, bool backward)
    {
        using var scope = NewDisposeScope();
        var (q, k, v) = (Heads(tokens), Heads(context), Heads(context));
        var (plain, fused) = (new List<double>(), new List<double>());
        var times = tokens * context > 256 * 256 ? 3 : 20;
        for (var i = 0; i < s_runs; i++)
        {
            plain.Add(1000 * Time(() => Once(() =>
                (q.flatten(0, 1).bmm(k.flatten(0, 1).mul(1 / Math.Sqrt(head)).transpose(1, 2)).softmax(-1)).bmm(v.flatten(0, 1)))) / times);
            fused.Add(1000 * Time(() => Once(() => nn.functional.scaled_dot_product_attention(q, k, v))) / times);
        }

        return (Middle(plain), Middle(fused));

        Tensor Heads(long length) => randn([batch, length, 8, head]).to(type).transpose(1, 2).requires_grad_(backward);

        void Once(Func<Tensor> attend)
        {
            for (var i = 0; i < times; i++)
            {
                using var run = NewDisposeScope();
                using var mode = backward ? enable_grad() : (IDisposable)no_grad();
                var y = attend();
                if (backward)
                {
                    y.to(float32).sum().backward();
                }
            }
        }
    }

    private static double GemmPeak(ScalarType type)
    {
        // A small product first: without instructions for the type a large one takes minutes.
        var peak = At(256);
        return peak < LeastPeak ? peak : At(2048);

        double At(int n)
        {
            using var scope = NewDisposeScope();
            var (a, b) = (randn(n, n).to(type), randn(n, n).to(type));
            a.mm(b).Dispose();
            return 2.0 * n * n * n / Median(() => a.mm(b).Dispose());
        }
    }

    private static (Tensor X, Tensor T, Tensor C) Inputs(int batch, int side, ScalarType type)
    {
        using var generator = new Generator(2);
        return (
            randn([batch, 4, side, side], generator: generator).to(type),
            tensor(500L).reshape(1),
            randn([batch, TextTokens, 768], generator: generator).to(type));
    }

    private static double Median(Action work, int? count = null) => Middle([.. Enumerable.Range(0, count ?? s_runs).Select(_ => Time(work))]);

    /// <summary>The first run chooses kernels and touches memory.</summary>
    private static void WarmUp(Action work)
    {
        if (s_runs > 1)
        {
            work();
        }
    }

    private static double Time(Action work)
    {
        var clock = Stopwatch.StartNew();
        work();
        return clock.Elapsed.TotalSeconds;
    }

    private static double Middle(IReadOnlyCollection<double> values) => values.Order().ElementAt(values.Count / 2);

    private static void Line(string name, FormattableString text) => Line(name, text.ToString(CultureInfo.InvariantCulture));

    private static void Line(string name, string text) => Console.WriteLine($"{name,-28} {text}");
}
