using LoraNotebooks.Tensors;
using static TorchSharp.torch;

namespace LoraNotebooks.Formats;

/// <summary>Weights in the type of a file that is to be written, which must hold them: numbers that are not finite are useless to whoever reads them.</summary>
/// <param name="path">The file, for messages.</param>
/// <param name="dtype">The type; <see langword="null"/> for each weight's own.</param>
internal sealed class FiniteCast(string path, ScalarType? dtype)
{
    private readonly List<string> _broken = [];
    private readonly List<string> _tooLarge = [];

    /// <summary>A weight in the type; what does not fit is noted.</summary>
    /// <param name="name">Its name, for messages.</param>
    /// <param name="weight">The weight.</param>
    /// <param name="own">The type where there is none for all; default the weight's.</param>
    public Tensor Of(string name, Tensor weight, ScalarType? own = null)
    {
        var type = dtype ?? own ?? weight.dtype;
        var cast = weight.to(type);
        if (!Finite.Is(cast))
        {
            (type != weight.dtype && Finite.Is(weight) ? _tooLarge : _broken).Add(
                type != weight.dtype && Finite.Is(weight)
                    ? $"{name} (up to {weight.detach().abs().max().to(ScalarType.Float64).item<double>():G3}, {type})"
                    : name);
        }

        return cast;
    }

    /// <summary>Throws if something did not fit.</summary>
    /// <exception cref="InvalidDataException">Some weights are not finite as they are.</exception>
    /// <exception cref="ArgumentException">Some weights are too large for the type.</exception>
    public void ThrowIfUnfit()
    {
        if (_broken.Count > 0)
        {
            throw new InvalidDataException(
                $"'{path}' was not written: {Listing.Count(_broken.Count, "weight")} to be written have numbers that are not finite, "
                    + $"expected finite ones. The training diverged, or a file was damaged; take an earlier checkpoint:\n{Listing.Lines(_broken)}");
        }

        if (_tooLarge.Count > 0)
        {
            throw new ArgumentException(
                $"'{path}' was not written: {Listing.Count(_tooLarge.Count, "weight")} would overflow to infinity, "
                    + $"expected numbers that the type holds. Write bf16 or fp32:\n{Listing.Lines(_tooLarge)}");
        }
    }
}
