using static TorchSharp.torch;

namespace LoraNotebooks.Models.Diffusion;

/// <summary>
/// What the UNet is told about the picture beside the timestep. In Stable Diffusion 1.x and 2.x that is the text's hidden states alone,
/// and a tensor of them is one; SDXL adds a summary of the text and the picture's sizes.
/// </summary>
/// <param name="HiddenStates">c, the text's hidden states, [N, S, D].</param>
/// <param name="TextEmbeds">SDXL: the pooled and projected text, [N, P].</param>
/// <param name="TimeIds">
/// SDXL: original height and width, top and left of the crop, target height and width in pixels, [N, 6]; see <see cref="SizeConditions"/>.
/// </param>
/// <remarks>Source: Podell et al. 2023 (arXiv:2307.01952), sections 2.1 and 2.2.</remarks>
public sealed record Conditioning(Tensor HiddenStates, Tensor? TextEmbeds = null, Tensor? TimeIds = null) : IDisposable
{
    /// <summary>N, the number of pictures.</summary>
    public long Count => HiddenStates.size(0);

    /// <summary>The hidden states alone, as Stable Diffusion 1.x and 2.x take them.</summary>
    /// <param name="hiddenStates">[N, S, D].</param>
    public static implicit operator Conditioning(Tensor hiddenStates) => new(hiddenStates);

    /// <summary>Those of one picture after another.</summary>
    /// <param name="parts">At least one; all have the same members.</param>
    public static Conditioning Concat(IReadOnlyList<Conditioning> parts)
    {
        ArgumentNullException.ThrowIfNull(parts);
        return new(
            cat([.. parts.Select(static part => part.HiddenStates)]),
            Join(static part => part.TextEmbeds),
            Join(static part => part.TimeIds));

        Tensor? Join(Func<Conditioning, Tensor?> member) => member(parts[0]) is null ? null : cat([.. parts.Select(part => member(part)!)]);
    }

    /// <summary>For N pictures, where this is of N or of one.</summary>
    /// <param name="count">N.</param>
    public Conditioning For(long count) => Map(tensor => tensor.size(0) == count ? tensor.alias() : tensor.expand([count, .. tensor.shape[1..]]));

    /// <summary>Text in another number format; the sizes stay float32, as 16 bits do not hold every number of pixels.</summary>
    /// <param name="type">The format.</param>
    public Conditioning To(ScalarType type) => this with { HiddenStates = HiddenStates.to(type), TextEmbeds = TextEmbeds?.to(type) };

    /// <summary>Zeros of the same shapes; the sizes stay.</summary>
    public Conditioning Zeros() => this with { HiddenStates = HiddenStates.zeros_like(), TextEmbeds = TextEmbeds?.zeros_like() };

    /// <summary>Hands the tensors to the scope around the current one.</summary>
    public Conditioning MoveToOuterDisposeScope() => Map(static tensor => tensor.MoveToOuterDisposeScope());

    /// <summary>Takes the tensors out of every scope; they live until <see cref="Dispose"/>.</summary>
    public Conditioning DetachFromDisposeScope() => Map(static tensor => tensor.DetachFromDisposeScope());

    /// <summary>Frees the tensors.</summary>
    public void Dispose()
    {
        HiddenStates.Dispose();
        TextEmbeds?.Dispose();
        TimeIds?.Dispose();
    }

    private Conditioning Map(Func<Tensor, Tensor> change) =>
        new(change(HiddenStates), TextEmbeds is null ? null : change(TextEmbeds), TimeIds is null ? null : change(TimeIds));
}

/// <summary>The sizes that SDXL is told, in pixels: it has seen small and cut pictures in training and knows them by these numbers.</summary>
/// <param name="OriginalWidth">The width of the picture before it was scaled.</param>
/// <param name="OriginalHeight">The height of the picture before it was scaled.</param>
/// <param name="CropLeft">What was cut off at the left of the scaled picture; 0 puts the subject in the middle.</param>
/// <param name="CropTop">What was cut off at its top.</param>
/// <param name="TargetWidth">The width of what is drawn.</param>
/// <param name="TargetHeight">The height of what is drawn.</param>
public readonly record struct SizeConditions(int OriginalWidth, int OriginalHeight, int CropLeft, int CropTop, int TargetWidth, int TargetHeight)
{
    /// <summary>The number of values.</summary>
    internal const int Count = 6;

    /// <summary>A picture that is neither scaled nor cut.</summary>
    /// <param name="width">Its width.</param>
    /// <param name="height">Its height.</param>
    public static SizeConditions Whole(int width, int height) => new(width, height, 0, 0, width, height);

    /// <summary>The six numbers in the order of the network: heights before widths.</summary>
    /// <param name="device">The device, default the CPU.</param>
    /// <returns>[1, 6], float32.</returns>
    public Tensor ToTensor(Device? device = null) =>
        tensor(new float[] { OriginalHeight, OriginalWidth, CropTop, CropLeft, TargetHeight, TargetWidth }, [1, Count], device: device);
}
