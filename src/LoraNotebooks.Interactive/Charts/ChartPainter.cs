using SkiaSharp;

namespace LoraNotebooks.Interactive;

/// <summary>Draws a <see cref="LineChart"/> with Skia.</summary>
/// <remarks>On a transparent ground in colours of middle brightness, so that one picture suits white and dark pages.</remarks>
internal sealed class ChartPainter
{
    /// <summary>The colour of letters: the grey that contrasts equally with white and with near-black.</summary>
    public const string Ink = "#7d828a";

    private const float LegendHeight = 34;
    private const float TitleHeight = 26;
    private readonly LineChart _chart;
    private readonly IReadOnlyList<ChartSeries> _series;
    private readonly (double Low, double High) _x;
    private readonly (double Low, double High) _y;
    private readonly (double Low, double High) _second;
    private readonly bool _hasSecond;
    private SKRect _plot;

    /// <summary>A painter of a chart's series, already thinned.</summary>
    public ChartPainter(LineChart chart, IReadOnlyList<ChartSeries> series)
    {
        _chart = chart;
        _series = series;
        _hasSecond = series.Any(s => s.OnSecondAxis);
        _x = Range(series.SelectMany(s => s.X), 0);
        var left = series.Where(s => !s.OnSecondAxis).SelectMany(s => s.Y);
        _y = chart.LogY ? Range(left.Where(v => v > 0).Select(Math.Log10), 0.06) : Range(left, 0.06);
        // The rate's axis starts at zero, so that a decay to zero looks like one.
        _second = Range(series.Where(s => s.OnSecondAxis).SelectMany(s => s.Y).Append(0), 0.06);
        _second.Low = Math.Max(0, _second.Low);
    }

    /// <summary>The picture as PNG.</summary>
    public byte[] Paint(int width, int height, float scale)
    {
        using var surface = SKSurface.Create(new SKImageInfo((int)(width * scale), (int)(height * scale), SKColorType.Rgba8888, SKAlphaType.Premul));
        var canvas = surface.Canvas;
        canvas.Clear(SKColors.Transparent);
        canvas.Scale(scale);

        using var small = new Lettering(11, SKColor.Parse(Ink));
        using var names = new Lettering(12, SKColor.Parse(Ink), semibold: true);
        var yTicks = YTicks();
        var secondTicks = _hasSecond ? Series.Ticks(_second.Low, _second.High, 5) : [];
        var leftWidth = yTicks.Select(t => small.Measure(Label(t))).DefaultIfEmpty(0).Max() + (_chart.YTitle is null ? 12 : 32);
        var rightWidth = _hasSecond
            ? secondTicks.Select(t => small.Measure(Numbers.Short(t))).DefaultIfEmpty(0).Max() + (_chart.SecondTitle is null ? 14 : 34)
            : 14;
        _plot = new SKRect(leftWidth, LegendHeight + (_chart.Title is null ? 0 : TitleHeight), width - rightWidth, height - (_chart.XTitle is null ? 26 : 46));

        DrawGrid(canvas, small, yTicks, secondTicks);
        DrawMarks(canvas);
        canvas.Save();
        canvas.ClipRect(new SKRect(_plot.Left - 4, _plot.Top - 4, _plot.Right + 4, _plot.Bottom + 4));
        foreach (var s in _series)
        {
            DrawLine(canvas, s);
        }

        canvas.Restore();
        DrawTitles(canvas, names, width, height);
        DrawLegend(canvas, small);
        return Picture.EncodePng(surface, isBrief: scale < 2);
    }

    private void DrawGrid(SKCanvas canvas, Lettering letters, double[] yTicks, double[] secondTicks)
    {
        using var hairline = new SKPaint { Color = new SKColor(128, 128, 128, 60), StrokeWidth = 1, IsAntialias = true };
        foreach (var tick in yTicks)
        {
            var y = Position(tick, _y, _plot.Bottom, _plot.Top);
            canvas.DrawLine(_plot.Left, y, _plot.Right, y, hairline);
            letters.Draw(canvas, Label(tick), _plot.Left - 7, y + 4, 1);
        }

        foreach (var tick in secondTicks)
        {
            letters.Draw(canvas, Numbers.Short(tick), _plot.Right + 7, Position(tick, _second, _plot.Bottom, _plot.Top) + 4);
        }

        foreach (var tick in Series.Ticks(_x.Low, _x.High, 8))
        {
            var x = Position(tick, _x, _plot.Left, _plot.Right);
            canvas.DrawLine(x, _plot.Bottom, x, _plot.Bottom + 4, hairline);
            letters.Draw(canvas, Numbers.Short(tick), x, _plot.Bottom + 17, 0.5f);
        }
    }

    private void DrawMarks(SKCanvas canvas)
    {
        using var dashes = SKPathEffect.CreateDash([2, 3], 0);
        using var line = new SKPaint { Color = new SKColor(128, 128, 128, 150), StrokeWidth = 1, PathEffect = dashes };
        using var letters = new Lettering(10, SKColor.Parse(Ink));
        foreach (var mark in _chart.DrawnMarks)
        {
            var x = Position(mark.X, _x, _plot.Left, _plot.Right);
            canvas.DrawLine(x, _plot.Top, x, _plot.Bottom, line);
        }

        foreach (var mark in _chart.LabelledMarks)
        {
            letters.Draw(canvas, mark.Label, Position(mark.X, _x, _plot.Left, _plot.Right) - 3, _plot.Top + 9, 1);
        }
    }

    private void DrawLine(SKCanvas canvas, ChartSeries s)
    {
        var colour = SKColor.Parse(s.Colour).WithAlpha((byte)(s.IsFaint ? 105 : 255));
        using var stroke = new SKPaint
        {
            Color = colour,
            IsStroke = true,
            StrokeWidth = s.IsFaint ? 1 : s.OnSecondAxis ? 1.5f : 2,
            IsAntialias = true,
            StrokeJoin = SKStrokeJoin.Round,
            StrokeCap = SKStrokeCap.Round,
        };
        using var fill = new SKPaint { Color = colour, IsAntialias = true };
        using var path = new SKPathBuilder();
        var points = 0;
        var isOpen = false;
        for (var i = 0; i < s.X.Count; i++)
        {
            if (!double.IsFinite(s.Y[i]))
            {
                isOpen = false;
                continue;
            }

            var x = Position(s.X[i], _x, _plot.Left, _plot.Right);
            var value = _chart.LogY && !s.OnSecondAxis ? Math.Log10(s.Y[i]) : s.Y[i];
            var y = Position(value, s.OnSecondAxis ? _second : _y, _plot.Bottom, _plot.Top);
            if (isOpen)
            {
                path.LineTo(x, y);
            }
            else
            {
                path.MoveTo(x, y);
            }

            isOpen = true;
            points++;
            if (s.HasMarkers)
            {
                canvas.DrawCircle(x, y, 3.5f, fill);
            }
            else if (s.X.Count == 1)
            {
                canvas.DrawCircle(x, y, 2.5f, fill);
            }
        }

        if (points > 1)
        {
            using var line = path.Detach();
            canvas.DrawPath(line, stroke);
        }
    }

    private void DrawTitles(SKCanvas canvas, Lettering letters, int width, int height)
    {
        if (_chart.Title is { } title)
        {
            using var large = new Lettering(14, SKColor.Parse(Ink), semibold: true);
            large.Draw(canvas, large.Wrap(title, width - 28, 1)[0], 14, 19);
        }

        if (_chart.XTitle is { } x)
        {
            letters.Draw(canvas, x, _plot.MidX, height - 8, 0.5f);
        }

        if (_chart.YTitle is { } y)
        {
            DrawUpright(y, 14, -90);
        }

        if (_hasSecond && _chart.SecondTitle is { } second)
        {
            DrawUpright(second, width - 12, 90);
        }

        void DrawUpright(string text, float at, float angle)
        {
            canvas.Save();
            canvas.Translate(at, _plot.MidY);
            canvas.RotateDegrees(angle);
            letters.Draw(canvas, text, 0, 0, 0.5f);
            canvas.Restore();
        }
    }

    private void DrawLegend(SKCanvas canvas, Lettering letters)
    {
        var (x, y) = (_plot.Left, _plot.Top - LegendHeight + 15);
        foreach (var s in _series)
        {
            using var stroke = new SKPaint
            {
                Color = SKColor.Parse(s.Colour).WithAlpha((byte)(s.IsFaint ? 130 : 255)),
                StrokeWidth = s.IsFaint ? 1.5f : 3,
                IsAntialias = true,
                StrokeCap = SKStrokeCap.Round,
            };
            canvas.DrawLine(x + 1, y, x + 17, y, stroke);
            letters.Draw(canvas, s.Name, x + 24, y + 4);
            x += 24 + letters.Measure(s.Name) + 22;
        }
    }

    private double[] YTicks()
    {
        if (!_chart.LogY)
        {
            return Series.Ticks(_y.Low, _y.High, 5);
        }

        double[] powers = [.. Series.Ticks(_y.Low, _y.High, 5).Where(t => Math.Abs(t - Math.Round(t)) < 1e-9)];
        return powers.Length >= 2 ? powers : Series.Ticks(_y.Low, _y.High, 4);
    }

    private string Label(double tick) => Numbers.Short(_chart.LogY ? Math.Pow(10, tick) : tick);

    private static float Position(double value, (double Low, double High) range, float from, float to) =>
        (float)(from + (value - range.Low) / (range.High - range.Low) * (to - from));

    private static (double Low, double High) Range(IEnumerable<double> values, double margin)
    {
        double low = double.PositiveInfinity, high = double.NegativeInfinity;
        foreach (var value in values.Where(double.IsFinite))
        {
            low = Math.Min(low, value);
            high = Math.Max(high, value);
        }

        if (low > high)
        {
            return (0, 1);
        }

        if (high - low < 1e-12 * Math.Max(1, Math.Abs(high)) || high == low)
        {
            var half = high == 0 ? 0.5 : Math.Abs(high) / 2;
            return (low - half, high + half);
        }

        var pad = margin * (high - low);
        return (low - pad, high + pad);
    }
}
