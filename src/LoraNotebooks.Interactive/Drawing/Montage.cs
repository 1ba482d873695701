using LoraNotebooks.Data;
using SkiaSharp;

namespace LoraNotebooks.Interactive;

/// <summary>One labelled grid of a <see cref="Montage"/>.</summary>
/// <param name="Title">The line over it, if any.</param>
/// <param name="Columns">A label over each column.</param>
/// <param name="Rows">A label before each row.</param>
/// <param name="Image">The picture at (column, row), if there is one.</param>
internal sealed record MontageBlock(string? Title, IReadOnlyList<string> Columns, IReadOnlyList<string> Rows, Func<int, int, RgbImage?> Image);

/// <summary>Draws labelled grids of pictures, one under the other, into a single picture on white.</summary>
internal static class Montage
{
    private const int LabelLines = 3;
    private static readonly SKColor Ink = SKColor.Parse("#22262b");
    private static readonly SKColor Quiet = SKColor.Parse("#7d828a");

    /// <summary>The picture as PNG. Small images are enlarged smoothly to at least 128 pixels a side, larger ones keep their pixels.</summary>
    public static byte[] Paint(string? columnAxis, string? rowAxis, IReadOnlyList<MontageBlock> blocks)
    {
        var cell = CellSize(blocks);
        var unit = Math.Clamp(cell.Width / 160f, 1f, 2.5f);
        using var letters = new Lettering(13 * unit, Ink, semibold: true);
        using var quiet = new Lettering(12 * unit, Quiet);
        var layout = new Layout(blocks, cell, unit, letters, columnAxis, rowAxis, quiet);

        using var surface = SKSurface.Create(new SKImageInfo(layout.Width, layout.Height, SKColorType.Rgba8888, SKAlphaType.Opaque));
        var canvas = surface.Canvas;
        canvas.Clear(SKColors.White);
        float top = layout.Margin;
        foreach (var block in blocks)
        {
            top = PaintBlock(canvas, block, layout, top, letters, quiet, columnAxis, rowAxis);
        }

        return Picture.EncodePng(surface);
    }

    private static float PaintBlock(
        SKCanvas canvas,
        MontageBlock block,
        Layout layout,
        float top,
        Lettering letters,
        Lettering quiet,
        string? columnAxis,
        string? rowAxis)
    {
        if (block.Title is { } title)
        {
            letters.Draw(canvas, letters.Wrap(title, layout.Width - 2 * layout.Margin, 1)[0], layout.Margin, top + letters.LineHeight * 0.8f);
            top += layout.TitleHeight;
        }

        if (!string.IsNullOrEmpty(columnAxis))
        {
            quiet.Draw(canvas, columnAxis, layout.Left + (block.Columns.Count * layout.CellWidth - layout.Gap) / 2, top + quiet.LineHeight * 0.8f, 0.5f);
            top += layout.AxisHeight;
        }

        for (var x = 0; x < block.Columns.Count; x++)
        {
            var lines = letters.Wrap(block.Columns[x], layout.CellWidth - layout.Gap, LabelLines);
            var baseline = top + layout.HeadHeight - layout.Gap - (lines.Count - 1) * letters.LineHeight - letters.LineHeight * 0.2f;
            foreach (var line in lines)
            {
                letters.Draw(canvas, line, layout.Left + x * layout.CellWidth + (layout.CellWidth - layout.Gap) / 2, baseline, 0.5f);
                baseline += letters.LineHeight;
            }
        }

        if (!string.IsNullOrEmpty(rowAxis) && layout.LabelWidth > 0)
        {
            quiet.Draw(canvas, rowAxis, layout.Left - layout.Gap * 2, top + layout.HeadHeight - layout.Gap - quiet.LineHeight * 0.2f, 1);
        }

        top += layout.HeadHeight;
        for (var y = 0; y < block.Rows.Count; y++)
        {
            var lines = letters.Wrap(block.Rows[y], Math.Max(1, layout.LabelWidth), LabelLines);
            var baseline = top + (layout.CellHeight - layout.Gap) / 2 + letters.LineHeight * (0.3f - (lines.Count - 1) / 2f);
            foreach (var line in lines)
            {
                letters.Draw(canvas, line, layout.Left - layout.Gap * 2, baseline, 1);
                baseline += letters.LineHeight;
            }

            for (var x = 0; x < block.Columns.Count; x++)
            {
                PaintCell(canvas, block.Image(x, y), new SKRect(
                    layout.Left + x * layout.CellWidth,
                    top,
                    layout.Left + (x + 1) * layout.CellWidth - layout.Gap,
                    top + layout.CellHeight - layout.Gap));
            }

            top += layout.CellHeight;
        }

        return top + layout.Gap * 3;
    }

    private static void PaintCell(SKCanvas canvas, RgbImage? picture, SKRect place)
    {
        if (picture is null)
        {
            using var empty = new SKPaint { Color = new SKColor(128, 128, 128, 36) };
            canvas.DrawRect(place, empty);
            return;
        }

        using var bitmap = Picture.ToBitmap(picture);
        using var image = SKImage.FromBitmap(bitmap);
        var scale = Math.Min(place.Width / picture.Width, place.Height / picture.Height);
        var target = SKRect.Create(
            place.MidX - picture.Width * scale / 2,
            place.MidY - picture.Height * scale / 2,
            picture.Width * scale,
            picture.Height * scale);
        canvas.DrawImage(image, target, Picture.Smooth);
    }

    private static (int Width, int Height) CellSize(IReadOnlyList<MontageBlock> blocks)
    {
        int width = 0, height = 0;
        foreach (var block in blocks)
        {
            for (var y = 0; y < block.Rows.Count; y++)
            {
                for (var x = 0; x < block.Columns.Count; x++)
                {
                    width = Math.Max(width, block.Image(x, y)?.Width ?? 0);
                    height = Math.Max(height, block.Image(x, y)?.Height ?? 0);
                }
            }
        }

        var side = Math.Max(width, height);
        var times = side is 0 or >= 128 ? 1 : (128 + side - 1) / side;
        return side == 0 ? (128, 128) : (width * times, height * times);
    }

    /// <summary>Where things stand, in pixels.</summary>
    private sealed class Layout
    {
        public Layout(
            IReadOnlyList<MontageBlock> blocks,
            (int Width, int Height) cell,
            float unit,
            Lettering letters,
            string? columnAxis,
            string? rowAxis,
            Lettering quiet)
        {
            Gap = (int)(4 * unit);
            Margin = (int)(14 * unit);
            CellWidth = cell.Width + Gap;
            CellHeight = cell.Height + Gap;
            TitleHeight = (int)Math.Ceiling(letters.LineHeight + Gap);
            AxisHeight = (int)Math.Ceiling(quiet.LineHeight);
            var lines = blocks.SelectMany(b => b.Columns).Select(text => letters.Wrap(text, cell.Width, LabelLines).Count).DefaultIfEmpty(1).Max();
            HeadHeight = (int)Math.Ceiling(lines * letters.LineHeight) + Gap;
            var widest = blocks.SelectMany(b => b.Rows).Select(letters.Measure).DefaultIfEmpty(0).Max();
            LabelWidth = widest == 0 ? 0 : (int)Math.Ceiling(Math.Max(Math.Min(widest, cell.Width * 1.25f), rowAxis is null ? 0 : quiet.Measure(rowAxis)));
            Left = Margin + (LabelWidth == 0 ? 0 : LabelWidth + 2 * Gap);
            Width = Left + blocks.Max(b => b.Columns.Count) * CellWidth - Gap + Margin;
            Height = 2 * Margin - 4 * Gap + blocks.Sum(b =>
                (b.Title is null ? 0 : TitleHeight) + (string.IsNullOrEmpty(columnAxis) ? 0 : AxisHeight) + HeadHeight + b.Rows.Count * CellHeight + 3 * Gap);
        }

        public int Gap { get; }

        public int Margin { get; }

        public int CellWidth { get; }

        public int CellHeight { get; }

        public int TitleHeight { get; }

        public int AxisHeight { get; }

        public int HeadHeight { get; }

        public int LabelWidth { get; }

        public int Left { get; }

        public int Width { get; }

        public int Height { get; }
    }
}
