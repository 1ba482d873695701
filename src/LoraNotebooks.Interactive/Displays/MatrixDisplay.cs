using LoraNotebooks.Data;
using LoraNotebooks.Foundation;
using static TorchSharp.torch;

namespace LoraNotebooks.Interactive;

/// <summary>Matrices side by side as heat maps of one scale of pixels: blue below zero, white at zero, orange above.</summary>
/// <remarks>Each matrix has its own range of colours, which ends at three standard deviations.</remarks>
public sealed class MatrixDisplay : RichDisplay
{
    private const int LongestSide = 240;
    private readonly List<(string Label, RgbImage Picture, long Rows, long Columns)> _matrices = [];

    /// <param name="matrices">Labels and matrices [rows, columns]; the values are read at once.</param>
    /// <exception cref="ArgumentException">A tensor that is no matrix.</exception>
    public MatrixDisplay(params IEnumerable<(string Label, Tensor Matrix)> matrices)
    {
        var all = matrices.ToList();
        if (all.FirstOrDefault(m => m.Matrix.dim() != 2) is { Matrix: not null } odd)
        {
            throw new ArgumentException($"'{odd.Label}' has the shape {Shapes.Text(odd.Matrix.shape)}, expected a matrix [rows, columns].", nameof(matrices));
        }

        var longest = all.Count == 0 ? 1 : all.Max(m => m.Matrix.shape.Max());
        var pixel = Math.Max(1, (int)(LongestSide / longest));
        foreach (var (label, matrix) in all)
        {
            _matrices.Add((label, Paint(matrix, pixel), matrix.shape[0], matrix.shape[1]));
        }
    }

    /// <summary>The title; default none.</summary>
    public string? Title { get; init; }

    /// <inheritdoc/>
    protected internal override Html Draw() => Look.Page(Title, null, Look.Grid(
    [
        Look.Tr(_matrices.Select(m => Look.Td(Html.Element("strong", [], m.Label), "center", "padding:2px 10px", "bottom"))),
        Look.Tr(_matrices.Select(m => Look.Td(
            ImageTag.Of(m.Picture, $"{m.Label}, a matrix of {m.Rows} × {m.Columns}", Math.Max(m.Picture.Width, m.Picture.Height)),
            "center",
            "padding:2px 10px",
            "middle"))),
        Look.Tr(_matrices.Select(m => Look.Td(Look.Quiet($"{m.Rows} × {m.Columns}"), "center", "padding:2px 10px", "top"))),
    ]));

    /// <inheritdoc/>
    public override string ToText() => string.Join(", ", _matrices.Select(m => $"{m.Label} ({m.Rows} × {m.Columns})"));

    private static RgbImage Paint(Tensor matrix, int pixel)
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        var values = matrix.detach().cpu().to(ScalarType.Float32).contiguous();
        var range = 3 * (values * values).mean().sqrt().item<float>();
        var (rows, columns) = ((int)values.shape[0], (int)values.shape[1]);
        var numbers = values.data<float>().ToArray();
        var bytes = new byte[3 * rows * columns * pixel * pixel];
        for (var y = 0; y < rows * pixel; y++)
        {
            for (var x = 0; x < columns * pixel; x++)
            {
                var share = range > 0 ? Math.Clamp(numbers[y / pixel * columns + x / pixel] / range, -1, 1) : 0;
                var (red, green, blue) = share < 0 ? (43, 108, 196) : (224, 112, 32);
                var at = 3 * (y * columns * pixel + x);
                var strength = Math.Abs(share);
                bytes[at] = (byte)(255 + strength * (red - 255));
                bytes[at + 1] = (byte)(255 + strength * (green - 255));
                bytes[at + 2] = (byte)(255 + strength * (blue - 255));
            }
        }

        return new RgbImage(columns * pixel, rows * pixel, bytes);
    }
}
