namespace LoraNotebooks.Models.Language;

/// <summary>What the weights in a prompt, <c>(word:1.3)</c> and <c>[word]</c>, do.</summary>
public enum PromptWeighting
{
    /// <summary>Nothing: brackets are characters of the text like others.</summary>
    Off,

    /// <summary>Each token's hidden state is multiplied by its weight, as kohya's trainer does with weighted captions.</summary>
    Scale,

    /// <summary>As <see cref="Scale"/>, and then all states together so that their mean stays, as kohya's and WebUI's generation does.</summary>
    KeepMean,
}

/// <summary>How a text becomes tokens and hidden states: its length and the meaning of brackets.</summary>
/// <remarks>Source: kohya-ss/sd-scripts, library/strategy_base.py, strategy_sd.py and gen_img.py.</remarks>
public sealed record PromptReading
{
    /// <summary>The largest <see cref="MaxTokenLength"/>.</summary>
    internal const int Longest = 7500;

    /// <summary>
    /// The most tokens of a text, without begin and end, rounded up to whole chunks; what is longer is cut off, and said so. Default the length that the
    /// encoder sees at once, 75
    /// for CLIP. A longer text is encoded in chunks of that length, whose states are joined; 150 and 225 are usual.
    /// </summary>
    public int? MaxTokenLength { get; init; }

    /// <summary>What weights in the text do. Default nothing.</summary>
    public PromptWeighting Weighting { get; init; } = PromptWeighting.Off;

    /// <summary>n, the chunks of a text.</summary>
    /// <param name="modelMaxLength">L, the tokens that the encoder sees at once, with begin and end.</param>
    public int Chunks(int modelMaxLength) => MaxTokenLength is { } length ? (length + modelMaxLength - 3) / (modelMaxLength - 2) : 1;

    /// <summary>Every fault of these settings: what was got, what is expected. Empty if there is none.</summary>
    public IReadOnlyList<string> Validate()
    {
        var faults = new Faults();
        faults.Require(
            MaxTokenLength is null or (> 0 and <= Longest),
            $"MaxTokenLength: got {MaxTokenLength}, expected 1 to {Longest} tokens, or null for the encoder's own; 75, 150 and 225 are usual");
        faults.Require(Enum.IsDefined(Weighting), $"Weighting: got {Weighting}, expected one of {string.Join(", ", Enum.GetNames<PromptWeighting>())}");
        return faults;
    }
}
