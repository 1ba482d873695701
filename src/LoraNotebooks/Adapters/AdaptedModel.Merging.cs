using LoraNotebooks.Tensors;
using static TorchSharp.torch;

namespace LoraNotebooks.Adapters;

/// <content>Merging: W ← W + Σ w·ΔW, after which an adapted model costs no more than its base.</content>
public sealed partial class AdaptedModel
{
    /// <summary>The adapters that are merged.</summary>
    public IReadOnlyCollection<string> MergedNames => [.. _adapters.Values.Where(static adapter => adapter.IsMerged).Select(static adapter => adapter.Name)];

    /// <summary>Merges adapters, at their present weights, into the base's weights; the originals are kept for <see cref="Unmerge"/>.</summary>
    /// <param name="names">The adapters; by default all.</param>
    /// <exception cref="ArgumentException">There is no such adapter.</exception>
    /// <exception cref="InvalidOperationException">
    /// One is merged already, adapters are switched off, a layer lacks the bias that it should get, or the sum is not finite;
    /// nothing is merged then.
    /// </exception>
    public void Merge(params IReadOnlyList<string> names)
    {
        var chosen = names.Count == 0 ? [.. _adapters.Values] : names.Distinct().Select(Find).ToList();
        RequireUnmerged("merged again", chosen);
        if (!_enabled)
        {
            throw new InvalidOperationException("The adapters are switched off. Set Enabled first; merging would make them act.");
        }

        var faults = _points.Values.Select(point => MergeFault(point, chosen)).OfType<string>().ToList();
        Faults.ThrowIfAny(faults, static found => new InvalidOperationException(
            $"Nothing was merged, because of {Listing.Count(found.Count, "layer")}:\n{Listing.Lines(found)}"));

        foreach (var point in _points.Values)
        {
            using var scope = NewDisposeScope();
            var (weight, bias) = point.Deltas(chosen);
            point.BaseLayer.Merge(weight, bias);
        }

        chosen.ForEach(static adapter => adapter.IsMerged = true);
    }

    /// <summary>Takes merged adapters out again: the base's weights are what they were, bit for bit, and the adapters act through their hooks.</summary>
    /// <param name="names">The adapters; by default all. Others that are merged stay so.</param>
    /// <exception cref="ArgumentException">There is no such adapter.</exception>
    public void Unmerge(params IReadOnlyList<string> names)
    {
        var rest = names.Count == 0 ? [] : MergedNames.Except(names.Select(Find).Select(static adapter => adapter.Name)).ToList();
        foreach (var point in _points.Values)
        {
            point.BaseLayer.Unmerge();
        }

        foreach (var adapter in _adapters.Values)
        {
            adapter.IsMerged = false;
        }

        if (rest.Count > 0)
        {
            Merge(rest);
        }
    }

    private static string? MergeFault(AttachmentPoint point, List<Adapter> chosen)
    {
        using var scope = NewDisposeScope();
        var (weight, bias) = point.Deltas(chosen);
        if (bias is not null && point.BaseLayer.Bias is null)
        {
            return $"'{point.BaseLayer.Path}' has no bias, its adapter has one (lora_bias)";
        }

        return IsFinite(weight, (point.BaseLayer as WeightLayer)?.Weight) && IsFinite(bias, point.BaseLayer.Bias)
            ? null
            : $"'{point.BaseLayer.Path}' would get weights that are not finite; the adapter's training diverged, or its weight is too large";
    }

    /// <summary>Whether W + ΔW is finite in the type in which W is kept.</summary>
    private static bool IsFinite(Tensor? delta, Tensor? parameter) =>
        delta is null || parameter!.detach().to(ScalarType.Float32).Plus(delta).to(parameter.dtype).isfinite().all().item<bool>();

    private static void RequireUnmerged(string action, IEnumerable<Adapter> adapters)
    {
        var merged = adapters.Where(static adapter => adapter.IsMerged).Select(static adapter => adapter.Name).ToList();
        if (merged.Count > 0)
        {
            throw new InvalidOperationException($"'{string.Join("', '", merged)}' is merged and cannot be {action}. Call Unmerge first.");
        }
    }
}
