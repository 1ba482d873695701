using LoraNotebooks.Models.Language;

namespace LoraNotebooks.Diffusion;

/// <summary>What to draw and how: the settings of one text-to-image run.</summary>
public sealed record GenerationOptions
{
    /// <summary>What the picture should show. Default empty.</summary>
    public string Prompt { get; init; } = "";

    /// <summary>What guidance leads away from. Default empty: from any picture.</summary>
    public string NegativePrompt { get; init; } = "";

    /// <summary>Width in pixels, a multiple of the autoencoder's factor (8; 4 for the embedded base). Default the size that the model was trained with.</summary>
    public int? Width { get; init; }

    /// <summary>Height in pixels, as <see cref="Width"/>.</summary>
    public int? Height { get; init; }

    /// <summary>The number of sampling steps, 1 to the number of training timesteps; DPM++ and UniPC take one less where their steps do not trail. Default 20.</summary>
    public int Steps { get; init; } = 20;

    /// <summary>
    /// g of classifier-free guidance, uncond + g·(cond − uncond) (Ho and Salimans 2022, arXiv:2207.12598). Default 7.5;
    /// 1 follows the prompt alone and takes half the time, as the negative prompt is then not computed.
    /// </summary>
    public double Guidance { get; init; } = 7.5;

    /// <summary>The first image's seed; the next images have the next numbers. Default 0.</summary>
    public long Seed { get; init; }

    /// <summary>The number of images. Default 1.</summary>
    public int Count { get; init; } = 1;

    /// <summary>How many images are computed at once at most. Default 4; it changes time and memory, not the images.</summary>
    public int BatchSize { get; init; } = 4;

    /// <summary>The sampler. Default the one that the model's scheduler configuration names.</summary>
    public SamplerKind? Sampler { get; init; }

    /// <summary>How samplers over noise levels space them; DDIM, DDPM and PNDM have none. Default as the model's scheduler configuration says.</summary>
    public SigmaSpacing? Spacing { get; init; }

    /// <summary>η of DDIM, 0 (default, deterministic) to 1.</summary>
    public double Eta { get; init; }

    /// <summary>Which hidden states of the text encoder are used: 1 (default) the last layer's, 2 those of the layer before, …</summary>
    public int ClipSkip { get; init; } = 1;

    /// <summary>How long prompts may be and what brackets in them mean. Default one chunk of 75 tokens, and nothing.</summary>
    public PromptReading Reading { get; init; } = new();

    /// <summary>Every fault of the settings, each with what was got and what is expected; empty when there is none.</summary>
    public IReadOnlyList<string> Validate()
    {
        var faults = new Faults();
        faults.Expect(Width is null or > 0, nameof(Width), Width, "a positive number of pixels");
        faults.Expect(Height is null or > 0, nameof(Height), Height, "a positive number of pixels");
        faults.Positive(nameof(Steps), Steps);
        faults.Expect(double.IsFinite(Guidance), nameof(Guidance), Guidance, "a finite number; 1 is no guidance, 3 to 12 are usual");
        faults.Positive(nameof(Count), Count);
        faults.Positive(nameof(BatchSize), BatchSize);
        faults.InRange(nameof(Eta), Eta, 0, 1);
        faults.Positive(nameof(ClipSkip), ClipSkip);
        faults.Within(nameof(Reading), Reading.Validate());
        return faults;
    }

    /// <summary>Throws when the settings have faults.</summary>
    /// <exception cref="ArgumentException">Lists every fault.</exception>
    public void ThrowIfInvalid() => Faults.ThrowIfAny(Validate());
}
