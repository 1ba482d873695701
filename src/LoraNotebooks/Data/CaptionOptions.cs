using static TorchSharp.torch;

namespace LoraNotebooks.Data;

/// <summary>
/// How a caption changes each time it is trained on, so that a model does not lean on the order of tags or on single ones.
/// Meanings and order of the steps are those of kohya-ss sd-scripts (library/train_util.py, process_caption).
/// </summary>
public sealed record CaptionOptions
{
    /// <summary>Whether the tags after the kept ones are shuffled. Default false.</summary>
    public bool Shuffle { get; init; }

    /// <summary>How many tags at the head keep their place and are never dropped; 1 protects a trigger word. Default 0.</summary>
    public int KeepTokens { get; init; }

    /// <summary>The probability, 0 to 1, that the whole caption is left out; teaches the unconditional prediction that guidance needs. Default 0.</summary>
    public double CaptionDropout { get; init; }

    /// <summary>The probability, 0 to 1, with which each tag after the kept ones is left out. Default 0.</summary>
    public double TagDropout { get; init; }

    /// <summary>Every fault of the options; empty when there is none.</summary>
    public IReadOnlyList<string> Validate()
    {
        var faults = new Faults();
        faults.NotNegative(nameof(KeepTokens), KeepTokens);
        faults.Expect(CaptionDropout is >= 0 and <= 1, nameof(CaptionDropout), CaptionDropout, "a probability from 0 to 1");
        faults.Expect(TagDropout is >= 0 and <= 1, nameof(TagDropout), TagDropout, "a probability from 0 to 1");
        return faults;
    }

    /// <summary>Throws when the options have faults.</summary>
    /// <exception cref="ArgumentException">Lists every fault.</exception>
    public void ThrowIfInvalid() => Faults.ThrowIfAny(Validate(), nameof(CaptionOptions));

    /// <summary>Whether captions stay as they are.</summary>
    public bool ChangeNothing => !Shuffle && CaptionDropout == 0 && TagDropout == 0;

    /// <summary>The caption for one training step.</summary>
    /// <param name="caption">The caption of the dataset.</param>
    /// <param name="generator">A CPU generator. The numbers drawn depend on the count of tags alone, not on the options; where these change nothing, none is
    /// drawn.</param>
    public string Draw(string caption, Generator generator)
    {
        ArgumentNullException.ThrowIfNull(caption);
        ArgumentNullException.ThrowIfNull(generator);
        if (ChangeNothing)
        {
            return caption;
        }

        var tags = CaptionTags.Split(caption);
        using var scope = NewDisposeScope();
        var uniform = rand([1 + 2 * tags.Length], ScalarType.Float64, CPU, generator: generator).data<double>().ToArray();
        if (uniform[0] < CaptionDropout)
        {
            return "";
        }

        if (!Shuffle && TagDropout == 0)
        {
            return caption;
        }

        var kept = Math.Min(KeepTokens, tags.Length);
        var loose = Enumerable.Range(kept, tags.Length - kept);
        if (Shuffle)
        {
            loose = loose.OrderBy(i => uniform[1 + i]);
        }

        return CaptionTags.Join([.. tags[..kept], .. loose.Where(i => uniform[1 + tags.Length + i] >= TagDropout).Select(i => tags[i])]);
    }
}
