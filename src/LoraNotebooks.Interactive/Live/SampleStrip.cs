using LoraNotebooks.Data;
using LoraNotebooks.Training;

namespace LoraNotebooks.Interactive;

/// <summary>The samples of a training run, pictures or texts: a row for each prompt, a column for each epoch.</summary>
internal sealed class SampleStrip : RichDisplay
{
    private const int MostColumns = 9;
    private readonly int[] _epochs;
    private readonly (string Prompt, long Seed)[] _rows;
    private readonly Dictionary<(int Epoch, string Prompt, long Seed), TrainingSample> _samples = [];
    private readonly BriefImages? _brief;

    /// <summary>The samples so far, in the order in which they came.</summary>
    /// <param name="samples">The samples.</param>
    /// <param name="brief">What the drawings before this one have encoded; none for the strip that stays.</param>
    public SampleStrip(IEnumerable<TrainingSample> samples, BriefImages? brief = null)
    {
        _brief = brief;
        foreach (var sample in samples)
        {
            _samples[(sample.Epoch, sample.Prompt, sample.Seed)] = sample;
        }

        _rows = [.. _samples.Keys.Select(key => (key.Prompt, key.Seed)).Distinct()];
        _epochs = [.. _samples.Keys.Select(key => key.Epoch).Distinct().Order()];
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
                (x, y) => _samples.TryGetValue((shown[x], _rows[y].Prompt, _rows[y].Seed), out var sample) ? Cell(sample, longest) : null));
    }

    /// <inheritdoc/>
    public override string ToText() => _epochs.Length == 0 ? "" : $"samples: {_rows.Length} at epoch {_epochs[^1]}";

    private Html Cell(TrainingSample sample, int longest) => sample switch
    {
        PictureSample picture => Tag(picture.Image, $"epoch {picture.Epoch}: {picture.Prompt}", longest),
        TextSample text => Html.Element(
            "div",
            [("style", $"width:{longest}px;font-size:12px;text-align:left;white-space:pre-wrap;overflow-wrap:anywhere")],
            text.Text),
        _ => Html.Text(sample.ToString()),
    };

    private Html Tag(RgbImage image, string alternative, int longest) =>
        _brief?.Of(image, alternative, longest) ?? ImageTag.Of(image, alternative, longest);
}
