using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Language;

namespace LoraNotebooks.Comparison;

/// <summary>Paints cells with a Stable Diffusion pipeline and one LoRA at a time: the given one, or the file that a checkpoint axis names.</summary>
/// <remarks>A file stays loaded until another is asked for. Disposing gives pipeline and LoRA back as they were.</remarks>
public sealed class StableDiffusionRenderer : IXyzRenderer, IDisposable
{
    private const string LoadedName = "xyz-checkpoint";

    private readonly StableDiffusionPipeline _pipeline;
    private readonly StableDiffusionLora? _lora;
    private readonly (double Weight, bool Enabled) _before;
    private (string Path, StableDiffusionLora Lora)? _loaded;

    /// <summary>A renderer; pipeline and LoRA stay the caller's.</summary>
    /// <param name="pipeline">The base model.</param>
    /// <param name="lora">The LoRA of that pipeline whose weight the settings give; it is switched off in cells that name a checkpoint. Default none.</param>
    public StableDiffusionRenderer(StableDiffusionPipeline pipeline, StableDiffusionLora? lora = null)
    {
        ArgumentNullException.ThrowIfNull(pipeline);
        _pipeline = pipeline;
        _lora = lora;
        _before = lora is null ? default : (lora.Weight, lora.Enabled);
    }

    /// <inheritdoc/>
    public IReadOnlyList<string> Validate(XyzSettings settings)
    {
        ArgumentNullException.ThrowIfNull(settings);
        var faults = new Faults();
        faults.AddRange(new GenerationOptions(settings).Validate());
        if (settings.Checkpoint is { } path && !File.Exists(path) && !Directory.Exists(path))
        {
            faults.Add($"{nameof(settings.Checkpoint)}: got '{path}', which is not there ({Path.GetFullPath(path)}), expected a LoRA file or folder");
        }

        faults.Expect(
            settings.Checkpoint is not null || _lora is not null || settings.LoraWeight is 0 or 1,
            nameof(settings.LoraWeight),
            settings.LoraWeight,
            "0 or 1 without a LoRA; hand one to the renderer, or name a checkpoint");
        var factor = _pipeline.Vae.DownsamplingFactor;
        foreach (var (name, side) in new[] { (nameof(settings.Width), settings.Width), (nameof(settings.Height), settings.Height) })
        {
            faults.Expect(side % factor is null or 0, name, side, $"a multiple of {factor}, by which the autoencoder shrinks images");
        }

        return faults;
    }

    /// <inheritdoc/>
    public IReadOnlyList<string> Warnings(IReadOnlyList<XyzSettings> settings)
    {
        ArgumentNullException.ThrowIfNull(settings);
        return
        [
            .. settings.GroupBy(static s => s.Reading).SelectMany(group => (string?[])
            [
                .. Told("prompt", group.Select(static s => s.Prompt), group.Key),
                .. Told("negative prompt", group.Where(static s => s.Guidance != 1).Select(static s => s.NegativePrompt), group.Key),
            ]).OfType<string>(),
        ];

        // What is told here is not told again cell by cell.
        string?[] Told(string what, IEnumerable<string> texts, PromptReading reading)
        {
            string[] all = [.. texts];
            _pipeline.Text.MarkTold(all, reading);
            return [_pipeline.Text.UnseenOf(what, all, reading), TextEncoders.PlainOf(what, all, reading)];
        }
    }

    /// <inheritdoc/>
    public RgbImage Render(XyzSettings settings, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(settings);

        // At weight 0 no LoRA acts, so no file is read for it.
        if (settings.LoraWeight != 0 && settings.Checkpoint is { } path && _loaded?.Path != path)
        {
            Unload();
            _loaded = (path, StableDiffusionLora.Load(_pipeline, path, LoadedName));
        }

        SetWeight(_loaded?.Lora, settings.Checkpoint is null ? 0 : settings.LoraWeight);
        SetWeight(_lora, settings.Checkpoint is null ? settings.LoraWeight : 0);
        return _pipeline.Generate(new GenerationOptions(settings), cancellationToken)[0];
    }

    /// <inheritdoc/>
    /// <remarks>A sampler stays unnamed where the model's own differs from the one of that name.</remarks>
    public XyzSettings Resolve(XyzSettings settings)
    {
        ArgumentNullException.ThrowIfNull(settings);
        var scheduler = _pipeline.Scheduler;
        var kind = settings.Sampler ?? Sampler.KindOf(scheduler);
        return settings with
        {
            Sampler = settings.Sampler ?? Sampler.NameFor(scheduler),
            Spacing = !kind.Declaration.HasLevels ? null : settings.Spacing ?? scheduler.SigmaSpacing,
            Width = settings.Width ?? _pipeline.NativeSize,
            Height = settings.Height ?? _pipeline.NativeSize,
        };
    }

    /// <inheritdoc/>
    /// <remarks>
    /// Where the model was loaded from (model), and the LoRA that acts where the settings name no checkpoint: its name (lora), and the hash that its
    /// file notes (lora_hash).
    /// </remarks>
    public IReadOnlyDictionary<string, string> Facts(XyzSettings settings)
    {
        ArgumentNullException.ThrowIfNull(settings);
        var facts = new Dictionary<string, string>();
        if (_pipeline.Source is { } model)
        {
            facts["model"] = model;
        }

        if (settings is { Checkpoint: null, LoraWeight: not 0 } && _lora is not null)
        {
            facts["lora"] = _lora.Name;
            if (_lora.Metadata.TryGetValue("sshs_model_hash", out var hash))
            {
                facts["lora_hash"] = hash;
            }
        }

        return facts;
    }

    /// <summary>Takes a loaded file off the pipeline and gives the LoRA its weight back.</summary>
    public void Dispose()
    {
        Unload();
        if (_lora is not null)
        {
            (_lora.Weight, _lora.Enabled) = _before;
        }
    }

    private void Unload()
    {
        _loaded?.Lora.Dispose();
        _loaded = null;
    }

    private static void SetWeight(StableDiffusionLora? lora, double weight)
    {
        if (lora is not null)
        {
            (lora.Weight, lora.Enabled) = (weight, weight != 0);
        }
    }
}
