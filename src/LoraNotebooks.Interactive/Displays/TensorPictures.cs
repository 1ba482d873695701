using LoraNotebooks.Data;
using LoraNotebooks.Foundation;
using TorchSharp;

namespace LoraNotebooks.Interactive;

/// <summary>Tensors as pictures.</summary>
public static class TensorPictures
{
    private const int MostPictures = 64;

    /// <summary>A tensor as a display of pictures.</summary>
    /// <param name="tensor">
    /// [H, W]; [C, H, W] or [H, W, C] with 1, 3 or 4 channels (of four the last, the opacity, lies on white); or a batch of such: [N, C, H, W], [N, H, W, C].
    /// Where both readings are possible the channels come first. Of a batch the first 64 are shown. The tensor is only read.
    /// </param>
    /// <param name="range">
    /// The values that are black and white. Default: 0 and 255 of bytes, 0 and 1 of truth values; of floating-point numbers 0 and 1 if all lie within,
    /// else -1 and 1 if all lie within. What lies outside is clamped, what is not finite is black, and the display says of how many values.
    /// </param>
    /// <returns>The pictures, with the facts over them.</returns>
    /// <exception cref="ArgumentException">A shape that is no picture, or values for which no range can be told.</exception>
    public static Gallery AsPictures(this torch.Tensor tensor, (double Black, double White)? range = null)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        using var scope = torch.NewDisposeScope();
        using var noGradient = torch.no_grad();
        var batch = Batch(tensor);
        var shape = batch.shape;
        var shown = (int)Math.Min(shape[0], MostPictures);
        var values = batch.narrow(0, 0, shown).cpu().to(torch.ScalarType.Float32).contiguous().data<float>().ToArray();
        var (black, white) = range ?? Range(tensor.dtype, values);
        if (!(white > black))
        {
            throw new ArgumentException(
                $"Got the range {Numbers.Short(black)} to {Numbers.Short(white)}; give a black that is less than white, such as (-1, 1).",
                nameof(range));
        }

        var (height, width, channels) = ((int)shape[1], (int)shape[2], (int)shape[3]);
        var one = height * width * channels;
        var images = Enumerable.Range(0, shown).Select(i => Picture(values.AsSpan(i * one, one), height, width, channels, black, white)).ToArray();
        var outside = values.Count(value => double.IsFinite(value) && (value < black || value > white));
        var odd = values.Count(value => !double.IsFinite(value));
        string[] facts =
        [
            $"{tensor.dtype} {Shapes.Text(tensor.shape)}",
            $"{Numbers.Short(black)} is black, {Numbers.Short(white)} white",
            .. shown < shape[0] ? [$"the first {shown} of {Numbers.Count(shape[0])}"] : Array.Empty<string>(),
            .. outside > 0 ? [$"{Numbers.Of(outside, "value")} clamped"] : Array.Empty<string>(),
            .. odd > 0 ? [$"{Numbers.Of(odd, "value")} not finite, shown black"] : Array.Empty<string>(),
        ];
        return new Gallery(images) { Title = string.Join(" · ", facts), ImageSize = shown == 1 ? 512 : 160 };
    }

    /// <summary>[N, H, W, C].</summary>
    private static torch.Tensor Batch(torch.Tensor tensor)
    {
        var shape = tensor.shape;
        var detached = tensor.detach();
        return shape switch
        {
            _ when tensor.numel() == 0 => throw Unknown(tensor),
            [_, _] => detached.unsqueeze(0).unsqueeze(-1),
            [1 or 3 or 4, _, _] => detached.permute(1, 2, 0).unsqueeze(0),
            [_, _, 1 or 3 or 4] => detached.unsqueeze(0),
            [_, 1 or 3 or 4, _, _] => detached.permute(0, 2, 3, 1),
            [_, _, _, 1 or 3 or 4] => detached,
            _ => throw Unknown(tensor),
        };
    }

    private static ArgumentException Unknown(torch.Tensor tensor) =>
        new(
            $"Got a tensor of shape {Shapes.Text(tensor.shape)}; pictures are [H, W], or have 1, 3 or 4 channels: "
                + "[C, H, W], [H, W, C], [N, C, H, W] or [N, H, W, C]. Choose channels with tensor[.., 0..3].",
            nameof(tensor));

    private static (double Black, double White) Range(torch.ScalarType type, float[] values)
    {
        if (type is torch.ScalarType.Byte or torch.ScalarType.Bool)
        {
            return type == torch.ScalarType.Byte ? (0, 255) : (0, 1);
        }

        var finite = values.Where(float.IsFinite).DefaultIfEmpty();
        var (lowest, highest) = (finite.Min(), finite.Max());
        return (lowest, highest) switch
        {
            ( >= 0, <= 1) => (0, 1),
            ( >= -1, <= 1) => (-1, 1),
            _ => throw new ArgumentException(
                $"Got values from {Numbers.Short(lowest)} to {Numbers.Short(highest)}; "
                    + $"say which are black and white, such as tensor.AsPictures(({Numbers.Short(lowest)}, {Numbers.Short(highest)})).",
                nameof(values)),
        };
    }

    private static RgbImage Picture(ReadOnlySpan<float> values, int height, int width, int channels, double black, double white)
    {
        var pixels = new byte[3 * height * width];
        for (var at = 0; at < height * width; at++)
        {
            var opacity = channels == 4 ? Share(values[4 * at + 3], black, white) : 1;
            for (var colour = 0; colour < 3; colour++)
            {
                var share = Share(values[channels * at + (channels == 1 ? 0 : colour)], black, white);
                pixels[3 * at + colour] = (byte)Math.Round(255 * (share * opacity + 1 - opacity));
            }
        }

        return new RgbImage(width, height, pixels);
    }

    private static double Share(float value, double black, double white) => float.IsFinite(value) ? Math.Clamp((value - black) / (white - black), 0, 1) : 0;
}
