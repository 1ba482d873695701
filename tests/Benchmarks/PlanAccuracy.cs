using System.Diagnostics;
using System.Globalization;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Training.Diffusion;
using LoraNotebooks.Training.Loop;
using LoraNotebooks.Training.Optimizers;
using static TorchSharp.torch;

namespace Benchmarks;

/// <summary>
/// How good is a memory plan? Each model is loaded in a process of its own, whose allocator gives freed memory back at once, so that the peak of
/// resident memory over the start of an action is what lived at once.
/// </summary>
internal static class PlanAccuracy
{
    private const int TextTokens = 77;

    /// <param name="models">Folders, files or names; the embedded base where there are none.</param>
    /// <param name="size">The side of the images in pixels; the model's own by default.</param>
    /// <param name="batch">Images per training step.</param>
    public static void Run(IReadOnlyList<string> models, int? size, int batch)
    {
        Console.WriteLine("model                    type      px  batch   action           planned MB   measured MB   planned/measured");
        foreach (var model in models.Count > 0 ? models : [BaseModel.Folder])
        {
            var start = new ProcessStartInfo(
                Environment.ProcessPath!,
                ["plan-child", model, (size ?? 0).ToString(CultureInfo.InvariantCulture), batch.ToString(CultureInfo.InvariantCulture)]);
            start.Environment["MALLOC_MMAP_THRESHOLD_"] = "16384";
            start.Environment["MALLOC_TRIM_THRESHOLD_"] = "0";
            start.Environment["MALLOC_ARENA_MAX"] = "1";
            using var child = Process.Start(start)!;
            child.WaitForExit();
        }
    }

    /// <summary>Measures one model.</summary>
    public static void Measure(string model, int size, int batch)
    {
        foreach (var type in new[] { ScalarType.Float32, ScalarType.BFloat16 })
        {
            MeasureOne(model, type, size, batch);
        }
    }

    private static void MeasureOne(string model, ScalarType type, int size, int batch)
    {
        using var scope = NewDisposeScope();
        var outline = PipelineOutline.Read(model);
        size = size > 0 ? size : outline.NativeSize;
        var config = new DiffusionTrainingConfig { BatchSize = batch };
        var need = MemoryPlan.For(outline, config, new MemoryPlanOptions { Types = [type], Resolutions = [size], TextTokens = TextTokens }).Needs.Single();
        var name = Path.GetFileName(Path.TrimEndingDirectorySeparator(outline.Source));

        // Whatever the runtime needs once is had before the first figure.
        using (StableDiffusionPipeline.FromFolder(BaseModel.Folder, type))
        {
        }

        StableDiffusionPipeline? loaded = null;
        Line("loading", need.Weights, Peak(() => loaded = StableDiffusionPipeline.Load(model, type)));
        using var pipeline = loaded!;
        var side = size / outline.DownsamplingFactor;
        var vaeType = pipeline.Vae.parameters().First().dtype;
        Line("encoding", need.Encoding, Twice(() => pipeline.Vae.Encode(randn(1, 3, size, size).to(vaeType))));
        Line("drawing step", need.DrawingStep, Twice(() =>
            pipeline.UNet.call(randn(2, outline.UNet.InChannels, side, side).to(type), tensor(5L).reshape(1), Text(2))));
        Line("decoding", need.Decoding, Twice(() => pipeline.Vae.Decode(randn(1, outline.Vae.LatentChannels, side, side).to(vaeType))));

        using var lora = StableDiffusionLora.Create(pipeline, "lora", config.UNetLora, null, 1);
        using var optimizer = new OptimizerRun(config.Optimizer, [new ParameterGroup("unet", lora.UNetParameters, 0.01)]);
        var loss = new DenoisingLoss(pipeline.UNet, new NoiseSchedule(pipeline.Scheduler), config);
        var step = new GradientStep(optimizer, config.MaxGradientNorm);
        using var enabled = enable_grad();
        var text = Text(batch);
        Line("training step", need.TrainingStep + need.Update, Twice(() => step.Take(1, _ => loss.Of(Noise()), [1e-4]), recorded: true));

        DiffusionBatch Noise() => new(
            randn(batch, outline.UNet.InChannels, side, side), randn(batch, outline.UNet.InChannels, side, side), full([batch], 5L), text);

        Conditioning Text(int count) => pipeline.EncodePrompts(Enumerable.Repeat("a picture", count).ToList()) with { TimeIds = pipeline.TimeIds(count) };

        void Line(string action, long planned, long measured) => Console.WriteLine(
            string.Create(CultureInfo.InvariantCulture, $"{name,-24} {type,-8} {size,4} {batch,6}   {action,-16} {planned / 1e6,10:F1}   ")
            + string.Create(CultureInfo.InvariantCulture, $"{measured / 1e6,11:F1}   {(double)planned / Math.Max(measured, 1),16:F2}"));
    }

    /// <summary>The peak of the second run: the first one makes the kernels.</summary>
    private static long Twice(Action work, bool recorded = false)
    {
        Once();
        return Peak(Once);

        void Once()
        {
            using var scope = NewDisposeScope();
            using var mode = recorded ? enable_grad() : (IDisposable)no_grad();
            work();
        }
    }

    private static long Peak(Action work)
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        var before = Machine.StartPeak();
        work();
        return Machine.Peak() - before;
    }
}
