using System.Collections.Concurrent;
using System.Text;
using SkiaSharp;

namespace LoraNotebooks.Interactive;

/// <summary>Text in drawn pictures, in an embedded typeface, because a machine may have no fonts at all.</summary>
/// <remarks>Characters that the typeface lacks come from a font of the system, or become a box where there is none.</remarks>
internal sealed class Lettering : IDisposable
{
    private static readonly Lazy<SKTypeface> Regular = new(() => LoadTypeface("OpenSans-Regular.ttf"));
    private static readonly Lazy<SKTypeface> Semibold = new(() => LoadTypeface("OpenSans-Semibold.ttf"));

    private static readonly ConcurrentDictionary<int, SKTypeface?> Fallbacks = new();

    private readonly SKFont _font;
    private readonly SKPaint _paint;

    /// <summary>Letters of one size, weight and colour.</summary>
    public Lettering(float size, SKColor colour, bool semibold = false)
    {
        _font = new SKFont(semibold ? Semibold.Value : Regular.Value, size) { Edging = SKFontEdging.Antialias, Subpixel = true };
        _paint = new SKPaint { Color = colour, IsAntialias = true };
    }

    /// <summary>The distance from one line to the next.</summary>
    public float LineHeight => _font.Size * 1.36f;

    /// <summary>The width of one line.</summary>
    public float Measure(string text) => Runs(text).Sum(run => Measure(run));

    /// <summary>Draws one line with its baseline at <paramref name="y"/>.</summary>
    /// <param name="canvas">Where to.</param>
    /// <param name="text">One line of text.</param>
    /// <param name="x">The anchor.</param>
    /// <param name="y">The baseline.</param>
    /// <param name="anchor">Which part of the line stands at <paramref name="x"/>: 0 its start, 0.5 its middle, 1 its end.</param>
    public void Draw(SKCanvas canvas, string text, float x, float y, float anchor = 0)
    {
        x -= anchor * Measure(text);
        foreach (var run in Runs(text))
        {
            using var font = new SKFont(run.Typeface, _font.Size) { Edging = _font.Edging, Subpixel = true };
            canvas.DrawText(run.Text, x, y, SKTextAlign.Left, font, _paint);
            x += font.MeasureText(run.Text);
        }
    }

    /// <summary>Breaks text at spaces into lines that fit; what does not fit into the last line ends in an ellipsis.</summary>
    public IReadOnlyList<string> Wrap(string text, float width, int lines)
    {
        var result = new List<string>();
        var rest = text.Trim();
        while (rest.Length > 0 && result.Count < lines)
        {
            var last = result.Count == lines - 1;
            if (Measure(rest) <= width)
            {
                result.Add(rest);
                break;
            }

            if (last)
            {
                result.Add(Shorten(rest, width));
                break;
            }

            var fits = LongestPrefix(rest, width);
            var space = rest.LastIndexOf(' ', Math.Min(fits, rest.Length - 1));
            var cut = space > 0 ? space : fits;
            result.Add(rest[..cut].TrimEnd());
            rest = rest[cut..].TrimStart();
        }

        return result.Count == 0 ? [""] : result;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _font.Dispose();
        _paint.Dispose();
    }

    private string Shorten(string text, float width)
    {
        var room = width - Measure("…");
        return text[..LongestPrefix(text, room)].TrimEnd() + "…";
    }

    private int LongestPrefix(string text, float width)
    {
        var length = 0;
        var used = 0f;
        foreach (var rune in text.EnumerateRunes())
        {
            used += Measure(rune.ToString());
            if (used > width)
            {
                return Math.Max(rune.Utf16SequenceLength, length);
            }

            length += rune.Utf16SequenceLength;
        }

        return text.Length;
    }

    private float Measure((string Text, SKTypeface Typeface) run)
    {
        using var font = new SKFont(run.Typeface, _font.Size) { Subpixel = true };
        return font.MeasureText(run.Text);
    }

    private List<(string Text, SKTypeface Typeface)> Runs(string text)
    {
        var runs = new List<(string, SKTypeface)>();
        var own = _font.Typeface;
        var current = own;
        var run = new StringBuilder();
        foreach (var rune in text.EnumerateRunes())
        {
            if (Rune.IsControl(rune))
            {
                continue;
            }

            var typeface = _font.ContainsGlyph(rune.Value) ? own : Fallbacks.GetOrAdd(rune.Value, SKFontManager.Default.MatchCharacter);
            var shown = typeface is null ? "□" : rune.ToString();
            typeface ??= own;
            if (!ReferenceEquals(typeface, current) && run.Length > 0)
            {
                runs.Add((run.ToString(), current));
                run.Clear();
            }

            current = typeface;
            run.Append(shown);
        }

        if (run.Length > 0)
        {
            runs.Add((run.ToString(), current));
        }

        return runs;
    }

    private static SKTypeface LoadTypeface(string resource)
    {
        using var stream = typeof(Lettering).Assembly.GetManifestResourceStream(resource)
            ?? throw new InvalidOperationException($"The embedded font {resource} is missing from the assembly.");
        using var data = SKData.Create(stream);
        return SKTypeface.FromData(data) ?? throw new InvalidOperationException($"Skia cannot read the embedded font {resource}.");
    }
}
