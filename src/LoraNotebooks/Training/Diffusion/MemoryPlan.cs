using System.Globalization;
using System.Text;
using LoraNotebooks.Diffusion;
using static TorchSharp.torch;

namespace LoraNotebooks.Training.Diffusion;

/// <summary>What a memory plan compares.</summary>
public sealed record MemoryPlanOptions
{
    /// <summary>The types of the weights in memory. Default float32, bfloat16 and float16.</summary>
    public IReadOnlyList<ScalarType> Types { get; init; } = [ScalarType.Float32, ScalarType.BFloat16, ScalarType.Float16];

    /// <summary>The sides of square images, in pixels. Default half of the model's own size, that size, and one and a half times it.</summary>
    public IReadOnlyList<int> Resolutions { get; init; } = [];

    /// <summary>Where the model will be. Default the CPU.</summary>
    public Device? Device { get; init; }

    /// <summary>The bytes that may be used. Default what <see cref="AvailableMemory"/> finds.</summary>
    public long? AvailableBytes { get; init; }

    /// <summary>T, the tokens of a text. Default 77; longer prompts have a multiple.</summary>
    public int TextTokens { get; init; } = 77;
}

/// <summary>A network of the model.</summary>
/// <param name="Name">As the folders call it: unet, vae, text_encoder.</param>
/// <param name="Parameters">How many numbers it has, counted from its architecture.</param>
/// <param name="Trained">How many numbers an adapter adds to it, counted likewise.</param>
public sealed record ComponentMemory(string Name, long Parameters, long Trained);

/// <summary>What a type and a resolution need, in bytes.</summary>
/// <param name="Type">The type of the weights in memory.</param>
/// <param name="Resolution">The side of the images in pixels.</param>
public sealed record MemoryNeed(ScalarType Type, int Resolution)
{
    /// <summary>All networks; the autoencoder in float32 where its configuration asks for that, as float16 overflows in many. Exact.</summary>
    public required long Weights { get; init; }

    /// <summary>
    /// What a run adds while it lasts whatever it does: the adapter in float32, the states of
    /// its optimizer, and copies where <see cref="TrainingConfig.Precision"/> makes some. Exact.
    /// </summary>
    public required long Adapter { get; init; }

    /// <summary>The gradients of the adapter, and what the optimizer's step makes. Exact.</summary>
    public required long Update { get; init; }

    /// <summary>What one batch makes in its forward pass and keeps until its backward pass is done. An estimate.</summary>
    public required long TrainingStep { get; init; }

    /// <summary>What encoding one image to latents makes. An estimate.</summary>
    public required long Encoding { get; init; }

    /// <summary>What one step of drawing makes. An estimate.</summary>
    public required long DrawingStep { get; init; }

    /// <summary>What decoding the drawn images makes. An estimate.</summary>
    public required long Decoding { get; init; }

    /// <summary>Loading and drawing, without training.</summary>
    public long ToDraw => Weights + Math.Max(DrawingStep, Decoding);

    /// <summary>A training run with its samples: weights, what lasts, and the largest of what comes one after another.</summary>
    public long ToTrain => Weights + Adapter + Math.Max(TrainingStep + Update, Math.Max(Encoding, Math.Max(DrawingStep, Decoding)));
}

/// <summary>
/// What a model will need before it is loaded: its weights, the adapter with gradients and optimizer, and the tensors of a step, by type and resolution.
/// </summary>
/// <remarks>
/// <para>
/// Weights, adapter and optimizer are exact: they are counted by building the networks and the adapter without memory, by the code that loads and trains.
/// </para>
/// <para>
/// The tensors of a step are an estimate, made by walking the architecture and noting each operation's result: what lives at once where nothing is
/// recorded, and what the backward pass reads where it is. Per residual block that is 3·(C_in + C_out) numbers per pixel; per transformer block the
/// inputs of its norms, queries, keys, values, attended values and the gated feed-forward's 12·C numbers per token, scores only where the attention
/// stores them. The gradient of the largest tensor is counted twice, for the one that comes in and the one that goes out.
/// Not counted: working memory of the kernels, fragments of the allocator, the runtime itself (about 0.3 GB) and the latents of the data set.
/// Measured on a CPU as peaks of resident memory (<c>tests/Benchmarks -- plan</c>; the embedded base at 64 pixels and a batch of 4, and at 256 and 1):
/// in float32 the estimate is 0.95 to 1.21 of a drawing step, encoding or decoding and 1.07 to 1.14 of a training step; in bfloat16 0.93 to 0.99 of
/// a drawing step and 1.09 to 1.22 of a training step. Where a processor has no convolutions in bfloat16, the autoencoder there took as much as in
/// float32, twice the estimate. Models of Stable Diffusion's size were not measured.
/// </para>
/// </remarks>
public sealed record MemoryPlan
{
    /// <summary>The model.</summary>
    public required PipelineOutline Model { get; init; }

    /// <summary>The run.</summary>
    public required DiffusionTrainingConfig Config { get; init; }

    /// <summary>The networks.</summary>
    public required IReadOnlyList<ComponentMemory> Components { get; init; }

    /// <summary>The needs, by resolution, then type.</summary>
    public required IReadOnlyList<MemoryNeed> Needs { get; init; }

    /// <summary>The bytes that may be used; <see langword="null"/> if that is not known.</summary>
    public required long? AvailableBytes { get; init; }

    /// <summary>How many numbers train.</summary>
    public long Trained => Components.Sum(static component => component.Trained);

    /// <summary>The needs that fit, with a tenth to spare; all where the memory is not known.</summary>
    public IReadOnlyList<MemoryNeed> Fitting => [.. Needs.Where(Fits)];

    /// <summary>Whether a training run fits, with a tenth to spare for what is not counted.</summary>
    public bool Fits(MemoryNeed need) => Fits(need.ToTrain);

    /// <summary>Whether so many bytes fit, with a tenth to spare for what is not counted.</summary>
    public bool Fits(long bytes) => AvailableBytes is null || bytes <= 0.9 * AvailableBytes;

    /// <summary>The need of a type and a resolution.</summary>
    /// <exception cref="ArgumentException">The plan has no such need.</exception>
    public MemoryNeed this[ScalarType type, int resolution] => Needs.FirstOrDefault(need => need.Type == type && need.Resolution == resolution)
        ?? throw new ArgumentException(
            $"The plan has no need of {type} at {resolution} pixels; "
                + $"it compares {string.Join(", ", Needs.Select(static need => $"{need.Type} at {need.Resolution}"))}. Name it in MemoryPlanOptions.");

    /// <summary>What to do: which types and resolutions fit, or what makes the need smaller.</summary>
    public IReadOnlyList<string> Advice => [.. Advise()];

    /// <summary>Plans.</summary>
    /// <param name="model">The model, of which nothing is loaded.</param>
    /// <param name="config">
    /// The run: batch size, adapter, whether the text encoder trains, how samples are drawn. Gradient accumulation needs no more memory.
    /// </param>
    /// <param name="options">What to compare.</param>
    /// <exception cref="ArgumentException">The settings have faults or do not fit the networks, or a resolution does not fit the autoencoder.</exception>
    public static MemoryPlan For(PipelineOutline model, DiffusionTrainingConfig config, MemoryPlanOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(config);
        config.ThrowIfInvalid();
        options ??= new MemoryPlanOptions();
        var factor = model.DownsamplingFactor;
        IReadOnlyList<int> resolutions = options.Resolutions.Count > 0 ? options.Resolutions : [.. DefaultResolutions(model)];
        int[] wrong = [.. resolutions.Where(side => side < factor || side % factor != 0)];
        if (wrong.Length > 0)
        {
            throw new ArgumentException(
                $"Got a resolution of {wrong[0]} pixels, expected multiples of {factor}, by which the autoencoder shrinks images.",
                nameof(options));
        }

        var steps = new StepMemory(model, config, options);
        return new MemoryPlan
        {
            Model = model,
            Config = config,
            Components = steps.Components,
            Needs = [.. from resolution in resolutions from type in options.Types select steps.Need(type, resolution)],
            AvailableBytes = options.AvailableBytes ?? AvailableMemory.Of(options.Device),
        };
    }

    /// <summary>The plan as lines of text.</summary>
    public override string ToString()
    {
        var text = new StringBuilder();
        text.Append(
            CultureInfo.InvariantCulture,
            $"{Path.GetFileName(Model.Source)}: {Components.Sum(static component => component.Parameters):N0} weights, ");
        text.Append(CultureInfo.InvariantCulture, $"of which the LoRA trains {Trained:N0} beside them");
        foreach (var need in Needs)
        {
            text.Append(
                CultureInfo.InvariantCulture,
                $"\n  {need.Type,-8} {need.Resolution,5} px  weights {ByteSize.Text(need.Weights)}, to draw {ByteSize.Text(need.ToDraw)}");
            text.Append(CultureInfo.InvariantCulture, $", to train {ByteSize.Text(need.ToTrain)}{(Fits(need) ? "" : "  does not fit")}");
        }

        return text.AppendJoin("", Advice.Select(static line => "\n" + line)).ToString();
    }

    private static IEnumerable<int> DefaultResolutions(PipelineOutline model)
    {
        var step = model.DownsamplingFactor;
        return new[] { model.NativeSize / 2, model.NativeSize, model.NativeSize * 3 / 2 }.Select(side => Math.Max(side / step, 1) * step).Distinct();
    }

    private IEnumerable<string> Advise()
    {
        if (AvailableBytes is not { } available)
        {
            yield return "How much memory is free is not known here; compare the figures with what your device has.";
            yield break;
        }

        var fitting = Fitting;
        if (fitting.Count > 0)
        {
            var largest = fitting.Max(static need => need.Resolution);
            yield return $"Of {ByteSize.Text(available)} free: training fits up to {largest} pixels in "
                + $"{string.Join(", ", fitting.Where(need => need.Resolution == largest).Select(static need => need.Type))}.";
            if (fitting.Any(static need => need.Type == ScalarType.Float16))
            {
                yield return "Prefer BFloat16 to Float16 for training where the device has it: Float16's range is narrow, and gradients vanish in it.";
            }

            yield break;
        }

        var least = Needs.MinBy(static need => need.ToTrain)!;
        yield return $"Nothing fits into {ByteSize.Text(available)}: the least, {least.Type} at {least.Resolution} pixels, "
            + $"needs {ByteSize.Text(least.ToTrain)}.";
        if (Config.BatchSize > 1)
        {
            yield return $"Set BatchSize to 1 and GradientAccumulation to {Config.BatchSize * Config.GradientAccumulation}: "
                + "the same updates, with the tensors of one image at a time.";
        }

        if (Needs.All(static need => need.Type == ScalarType.Float32))
        {
            yield return "Load the weights in bfloat16: they and the tensors of a step take half.";
        }

        if (Config is { TrainsUNet: true, TrainsTextEncoder: true })
        {
            yield return "Leave the text encoder frozen (TextEncoderLearningRate null).";
        }

        yield return Fits(Needs.Min(static need => need.ToDraw))
            ? "Drawing fits: a LoRA trained elsewhere can be looked at here. For training take a lower resolution or a smaller model."
            : "Take a smaller model, or a machine with more memory; closing other programs may free some.";
    }
}
