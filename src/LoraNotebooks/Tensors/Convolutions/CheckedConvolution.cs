using static TorchSharp.torch;

namespace LoraNotebooks.Tensors.Convolutions;

/// <summary>
/// Two-dimensional convolutions, right on every processor: libtorch's own where a self-check found its kernels right, else computed another way.
/// </summary>
/// <remarks>
/// The check takes less than a tenth of a second, at the first convolution on the CPU; its result is kept per processor, library and setting.
/// </remarks>
public static class CheckedConvolution
{
    /// <summary>
    /// The environment variable that forces a way: <c>auto</c> (default), <c>native</c>, <c>padded</c> or
    /// <c>product</c>; see <see cref="ConvolutionWay"/>.
    /// </summary>
    public const string WayVariable = "LORANOTEBOOKS_CONVOLUTIONS";

    /// <summary>Counts up where samples or ways change, so that older verdicts are not taken for today's.</summary>
    private const int VerdictsVersion = 2;

    private static Lazy<ConvolutionEngine> s_engine = new(static () =>
        new ConvolutionEngine(ConvolutionWays.Native, new ConvolutionVerdicts(MachineFile.Of("convolutions", VerdictsVersion)), ForcedWay(), Notice.Tell));

    /// <summary>What computes this process's convolutions.</summary>
    internal static ConvolutionEngine Engine => s_engine.Value;

    /// <summary>y = W ∗ x + b, differentiable in all three.</summary>
    /// <param name="x">Images, [N, in, H, W].</param>
    /// <param name="weight">W, [out, in/groups, kh, kw].</param>
    /// <param name="bias">b, [out], or <see langword="null"/>.</param>
    /// <param name="geometry">How the kernel moves.</param>
    /// <returns>[N, out, H', W'].</returns>
    public static Tensor Apply(Tensor x, Tensor weight, Tensor? bias, ConvolutionGeometry geometry)
    {
        ArgumentNullException.ThrowIfNull(x);
        ArgumentNullException.ThrowIfNull(weight);
        return Engine.Apply(x, weight, bias, geometry);
    }

    /// <summary>
    /// Which kernels convolutions are computed with, in a few words: <c>default</c>, or the limit of oneDNN's instructions, and whether wrong ones are gone
    /// around or a way is forced.
    /// </summary>
    /// <exception cref="DllNotFoundException">libtorch cannot be found.</exception>
    public static string Describe()
    {
        var limit = NativeSettings.InstructionLimit ?? "default";
        var now = Engine;
        return now.Forced is { } way ? $"{limit}, convolutions forced to be {way.ToString().ToLowerInvariant()}"
            : now.Findings.Suspicion == Suspicion.None ? limit
            : $"{limit}, wrong convolutions computed another way";
    }

    /// <summary>
    /// Whether libtorch computes a convolution wrong that a layer of the given sizes is likely to be used for: one and two images of 8, 16 and
    /// 32 pixels a side, in both layouts. For layers that this toolkit does not compute itself.
    /// </summary>
    /// <param name="inputs">The image's channels.</param>
    /// <param name="outputs">The output's channels.</param>
    /// <param name="kernel">(kh, kw).</param>
    /// <param name="geometry">How the kernel moves.</param>
    /// <param name="type">The layer's type.</param>
    internal static bool IsWrongNatively(long inputs, long outputs, (long Height, long Width) kernel, ConvolutionGeometry geometry, ScalarType type)
    {
        var now = Engine;
        return now.Forced is null && now.Findings.Suspicion != Suspicion.None
            && Likely().Any(of => now.Way(of) != ConvolutionWay.Native);

        IEnumerable<ConvolutionCase> Likely() =>
            from side in (long[])[8, 16, 32]
            from images in (long[])[1, 2]
            from channelsLast in (bool[])[false, true]
            where side + (2 * Math.Min(geometry.Padding.Y, geometry.Padding.X))
                > Math.Max(geometry.Dilation.Y * (kernel.Height - 1), geometry.Dilation.X * (kernel.Width - 1))
            select new ConvolutionCase(type, channelsLast, images, inputs, outputs, (side, side), kernel, geometry, get_num_threads());
    }

    /// <summary>Puts another engine in place until the result is disposed, for tests of wrong kernels.</summary>
    internal static IDisposable Use(ConvolutionEngine other)
    {
        var before = s_engine;
        s_engine = new Lazy<ConvolutionEngine>(other);
        return new OnDispose(() => s_engine = before);
    }

    private static ConvolutionWay? ForcedWay()
    {
        var value = Environment.GetEnvironmentVariable(WayVariable);
        return value is null or "" || value.Equals("auto", StringComparison.OrdinalIgnoreCase) ? null
            : Enum.TryParse<ConvolutionWay>(value, ignoreCase: true, out var way) && Enum.IsDefined(way) ? way
            : throw new InvalidOperationException($"{WayVariable} is '{value}', expected auto, native, padded or product.");
    }
}
