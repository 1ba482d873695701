using LoraNotebooks.Data;

namespace LoraNotebooks.Interactive;

/// <summary>Image elements for displays that are drawn again and again: each picture is encoded once, smaller than where it stays.</summary>
/// <remarks>What one drawing did not show is forgotten. For one thread at a time.</remarks>
internal sealed class BriefImages
{
    private Dictionary<(RgbImage Image, int Longest), string> _before = [];
    private Dictionary<(RgbImage Image, int Longest), string> _now = [];

    /// <summary>Begins a drawing.</summary>
    public void Begin() => (_before, _now) = (_now, []);

    /// <summary>The element of an image.</summary>
    public Html Of(RgbImage image, string? alternative, int longest) => ImageTag.Of(image, Source(image, longest), alternative, longest);

    /// <summary>The image as a data address.</summary>
    public string Source(RgbImage image, int longest)
    {
        var key = (image, longest);
        if (!_now.TryGetValue(key, out var source) && !_before.TryGetValue(key, out source))
        {
            source = ImageTag.Source(image, longest, isBrief: true);
        }

        _now[key] = source;
        return source;
    }
}
