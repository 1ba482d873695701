using LoraNotebooks.Data;
using LoraNotebooks.Training;

namespace LoraNotebooks.Interactive;

/// <summary>The sample pictures of a training run: a row for each prompt, a column for each epoch.</summary>
internal sealed class SampleStrip : RichDisplay
{
    private const int MostColumns = 9;
    private readonly int[] _epochs;
    private readonly (string Prompt, long Seed)[] _rows;
    private readonly Dictionary<(int Epoch, string Prompt, long Seed), RgbImage> _images = [];
    private readonly BriefImages? _brief;

    /// <summary>The pictures so far, in the order in which they came.</summary>
    /// <param name="samples">The pictures.</param>
    /// <param name="brief">What the drawings before this one have encoded; none for the strip that stays.</param>
    public SampleStrip(IEnumerable<TrainingSample> samples, BriefImages? brief = null)
    {
        _brief = brief;
        foreach (var sample in samples)
        {
            _images[(sample.Epoch, sample.Prompt, sample.Seed)] = sample.Image;
        }

        _rows = [.. _images.Keys.Select(key => (key.Prompt, key.Seed)).Distinct()];
        _epochs = [.. _images.Keys.Select(key => key.Epoch).Distinct().Order()];
    }

    /// <inheritdoc/>
    protected internal override Html Draw()
    {
        // Evenly picked, the first and the last always among them.
        int[] shown = _epochs.Length <= MostColumns
            ? _epochs
            : [.. Enumerable.Range(0, MostColumns).Select(i => _epochs[(int)Math.Round(i * (_epochs.Length - 1) / (MostColumns - 1.0))])];
        var longest = Math.Clamp(640 / Math.Max(1, shown.Length), 80, 128);
        _brief?.Begin();
        return Look.Page(
            "Samples",
            shown.Length < _epochs.Length ? $"{shown.Length} of {_epochs.Length} epochs" : null,
            ImageGrid.Of(
                null,
                [.. shown.Select(epoch => epoch == 0 ? "before" : $"epoch {epoch}")],
                null,
                [.. _rows.Select(row => row.Prompt)],
                shown.Length,
                longest,
                (x, y) => _images.TryGetValue((shown[x], _rows[y].Prompt, _rows[y].Seed), out var image) ? Tag(image, $"epoch {shown[x]}: {_rows[y].Prompt}", longest) : null));
    }

    /// <inheritdoc/>
    public override string ToText() => _epochs.Length == 0 ? "" : $"samples: {_rows.Length} at epoch {_epochs[^1]}";

    private Html Tag(RgbImage image, string alternative, int longest) =>
        _brief?.Of(image, alternative, longest) ?? ImageTag.Of(image, alternative, longest);
}
