using System.Globalization;
using TorchSharp;

namespace LoraNotebooks.Interactive;

/// <summary>Tensors as text: the values of small ones; shape, type, device and a few statistics of large ones.</summary>
internal static class TensorText
{
    private const long MostValues = 1_000;

    // Above it the statistics would take longer than a reader wants to wait for a line of text.
    private const long MostMeasured = 1L << 28;

    /// <summary>The text; the tensor is only read.</summary>
    /// <param name="tensor">Any tensor, also a disposed one.</param>
    /// <param name="isInner">Whether it stands among other values, where only its facts find room.</param>
    /// <param name="mostMeasured">The most values of which there are statistics.</param>
    public static string Of(torch.Tensor tensor, bool isInner, long mostMeasured = MostMeasured) =>
        tensor.IsInvalid ? "a disposed tensor"
        : isInner ? Facts(tensor)
        : tensor.numel() <= MostValues && HasValues(tensor) ? Values(tensor)
        : Facts(tensor) + Statistics(tensor, mostMeasured);

    private static bool HasValues(torch.Tensor tensor) => tensor.device_type != DeviceType.META && !tensor.is_sparse;

    private static string Values(torch.Tensor tensor)
    {
        using var scope = torch.NewDisposeScope();
        using var noGradient = torch.no_grad();
        return tensor.detach().ToString(TensorStringStyle.Julia).TrimEnd();
    }

    private static string Facts(torch.Tensor tensor) =>
        $"[{string.Join("x", tensor.shape)}], type = {tensor.dtype}, device = {tensor.device}{(tensor.requires_grad ? ", requires_grad" : "")}";

    private static string Statistics(torch.Tensor tensor, long mostMeasured)
    {
        if (!HasValues(tensor) || tensor.numel() > mostMeasured || tensor.is_complex())
        {
            return "";
        }

        using var scope = torch.NewDisposeScope();
        using var noGradient = torch.no_grad();
        // Half precision is too coarse to add up in, and integers have no mean.
        var values = tensor.dtype is torch.ScalarType.Float32 or torch.ScalarType.Float64 ? tensor.detach() : tensor.detach().to(torch.ScalarType.Float32);
        var finite = values.isfinite();
        var others = values.numel() - finite.sum().item<long>();
        if (others > 0)
        {
            values = values.masked_select(finite);
        }

        var facts = others > 0 ? $", {Numbers.Count(others)} not finite" : "";
        return values.numel() == 0 ? facts : string.Create(CultureInfo.InvariantCulture,
            $"\nmean = {Number(values.mean())}, std = {Number(values.std())}, min = {Number(values.min())}, max = {Number(values.max())}{facts}");
    }

    private static string Number(torch.Tensor value) => Numbers.Short(value.to(torch.ScalarType.Float64).item<double>());
}
