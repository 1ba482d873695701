using System.Text.Json.Serialization;
using LoraNotebooks.Models.Language;

namespace LoraNotebooks.Diffusion;

/// <summary>What to draw and how: everything that decides one picture.</summary>
/// <remarks><see cref="GenerationOptions"/> say beside it how many pictures a run draws, the settings of a grid's cell which LoRA it has.</remarks>
public abstract record ImageOptions
{
    /// <summary>What the picture should show. Default empty.</summary>
    public virtual string Prompt { get; init; } = "";

    /// <summary>What guidance leads away from. Default empty: from any picture.</summary>
    public string NegativePrompt { get; init; } = "";

    /// <summary>The seed of the initial noise. Default 0.</summary>
    public long Seed { get; init; }

    /// <summary>
    /// The number of sampling steps, 1 to the number of training timesteps; DPM++ and UniPC take one less where their steps do not trail. Default 20.
    /// </summary>
    public int Steps { get; init; } = 20;

    /// <summary>
    /// g of classifier-free guidance, uncond + g·(cond − uncond) (Ho and Salimans 2022, arXiv:2207.12598). Default 7.5;
    /// 1 follows the prompt alone and takes half the time, as the negative prompt is then not computed.
    /// </summary>
    public double Guidance { get; init; } = 7.5;

    /// <summary>The sampler, one of <see cref="SamplerKind"/>'s or of your own. Default the one that the model's scheduler configuration names.</summary>
    public SamplerKind? Sampler { get; init; }

    /// <summary>
    /// How samplers over noise levels space them; DDIM, DDPM and PNDM have none (<see cref="SamplerDeclaration.HasLevels"/>). Default as the model's scheduler
    /// configuration says.
    /// </summary>
    public SigmaSpacing? Spacing { get; init; }

    /// <summary>η of DDIM and of your own samplers that use one (<see cref="SamplerDeclaration.UsesEta"/>), 0 (default, deterministic) to 1.</summary>
    public double Eta { get; init; }

    /// <summary>Which hidden states of the text encoder are used: 1 (default) the last layer's, 2 those of the layer before, …</summary>
    public int ClipSkip { get; init; } = 1;

    /// <summary>How long prompts may be and what brackets in them mean. Default one chunk of 75 tokens, and nothing.</summary>
    public PromptReading Reading { get; init; } = new();

    /// <summary>
    /// Width in pixels, a multiple of the autoencoder's factor (8; 4 for the embedded base). Default the size that the model was trained with.
    /// </summary>
    [JsonPropertyOrder(2)]
    public int? Width { get; init; }

    /// <summary>Height in pixels, as <see cref="Width"/>.</summary>
    [JsonPropertyOrder(2)]
    public int? Height { get; init; }

    /// <summary>The faults of all that is said here but the guidance, whose bounds are the user's of these settings.</summary>
    private protected Faults CheckPicture()
    {
        var faults = new Faults();
        faults.Expect(Width is null or > 0, nameof(Width), Width, "a positive number of pixels");
        faults.Expect(Height is null or > 0, nameof(Height), Height, "a positive number of pixels");
        faults.Positive(nameof(Steps), Steps);
        faults.Require(Sampler?.Fault is null, $"{nameof(Sampler)}: {Sampler?.Fault}");
        faults.InRange(nameof(Eta), Eta, 0, 1);
        faults.Positive(nameof(ClipSkip), ClipSkip);
        faults.Within(nameof(Reading), Reading.Validate());
        return faults;
    }
}
