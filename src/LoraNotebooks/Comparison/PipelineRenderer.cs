using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;

namespace LoraNotebooks.Comparison;

/// <summary>
/// Paints cells with a text-to-image pipeline. A checkpoint is loaded when the cell before had another one; its weight is a dial that costs nothing to turn.
/// </summary>
/// <remarks>The pipeline is left as it was found when the renderer is disposed.</remarks>
public sealed class PipelineRenderer : IXyzRenderer, IDisposable
{
    private readonly StableDiffusionPipeline pipeline;
    private readonly StableDiffusionLora? given;
    private readonly double givenWeight;
    private StableDiffusionLora? loaded;
    private string? loadedPath;

    /// <param name="pipeline">The model.</param>
    /// <param name="lora">A LoRA that is attached to the pipeline already, for cells without a checkpoint; default none.</param>
    public PipelineRenderer(StableDiffusionPipeline pipeline, StableDiffusionLora? lora = null)
    {
        ArgumentNullException.ThrowIfNull(pipeline);
        (this.pipeline, given, givenWeight) = (pipeline, lora, lora?.Weight ?? 0);
    }

    /// <inheritdoc/>
    public IReadOnlyList<string> Validate(XyzSettings settings)
    {
        ArgumentNullException.ThrowIfNull(settings);
        return settings.Checkpoint is { } path && !File.Exists(path) && !Directory.Exists(path)
            ? [$"there is no LoRA at {path}; give the path of a .safetensors file or of a PEFT folder"]
            : settings.Checkpoint is null && given is null && settings.LoraWeight is not (0 or 1)
                ? [$"the LoRA weight is {settings.LoraWeight}, but there is no LoRA; attach one to the pipeline or name a checkpoint"]
                : [];
    }

    /// <inheritdoc/>
    public RgbImage Render(XyzSettings settings, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(settings);
        Use(settings.Checkpoint);
        if ((loaded ?? given) is { } lora)
        {
            lora.Weight = settings.LoraWeight;
        }

        var options = new GenerationOptions
        {
            Prompt = settings.Prompt,
            NegativePrompt = settings.NegativePrompt,
            Seed = settings.Seed,
            Steps = settings.Steps,
            Guidance = settings.Guidance,
            Sampler = settings.Sampler,
            Width = settings.Width,
            Height = settings.Height,
        };
        return pipeline.Generate(options, cancellationToken).Single();
    }

    /// <summary>Detaches what was loaded and gives the attached LoRA its weight back.</summary>
    public void Dispose()
    {
        Use(null);
        if (given is not null)
        {
            given.Weight = givenWeight;
        }
    }

    /// <summary>The checkpoint of a cell takes the place of the given LoRA; both together would add up.</summary>
    private void Use(string? path)
    {
        if (path == loadedPath)
        {
            return;
        }

        loaded?.Dispose();
        (loaded, loadedPath) = (null, null);
        if (given is not null)
        {
            given.Enabled = path is null;
        }

        if (path is not null)
        {
            (loaded, loadedPath) = (StableDiffusionLora.Load(pipeline, path), path);
        }
    }
}
