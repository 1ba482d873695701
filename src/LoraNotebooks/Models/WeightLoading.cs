using LoraNotebooks.Tensors;
using LoraNotebooks.Tensors.Convolutions;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace LoraNotebooks.Models;

/// <summary>
/// Gives weights in files to models that were made without memory: each parameter is read into the memory that it will keep, so the peak
/// is the weights in the chosen type plus, where the type changes, one tensor. Loaded weights are frozen; who trains them asks for gradients.
/// libtorch multiplies in another order where a weight asks for gradients, so frozen throughout, a model draws the same picture before, beside
/// and after the training of an adapter, to the last bit.
/// </summary>
internal static class WeightLoading
{
    /// <summary>Gives a model its weights, reading each into the memory that it will keep.</summary>
    /// <param name="model">A model of <see cref="Layers"/> without memory.</param>
    /// <param name="sources">Where each parameter's values are, by its name.</param>
    /// <param name="origin">The folder or file, for messages.</param>
    /// <param name="dtype">The type of the weights in memory.</param>
    /// <param name="device">The device, default the CPU.</param>
    /// <exception cref="InvalidDataException">Names are missing, unexpected or of another shape: all are listed.</exception>
    public static void Fill(nn.Module model, IReadOnlyDictionary<string, WeightSource> sources, string origin, ScalarType dtype, Device? device)
    {
        ThrowIfUnfit(model, sources, origin);
        using var noGradient = no_grad();
        var notFinite = new List<string>();
        foreach (var (path, module) in model.named_modules().Append((string.Empty, model)))
        {
            foreach (var (name, old) in module.named_parameters(recurse: false).ToList())
            {
                var full = path.Length == 0 ? name : $"{path}.{name}";
                var values = InLayoutOf(old, sources[full].Load(dtype, device));
                if (!Finite.Is(values))
                {
                    notFinite.Add(full);
                }

                Replace(module, name, old, values);
            }
        }

        if (notFinite.Count > 0)
        {
            Notice.Tell(
                $"'{origin}': {Listing.Count(notFinite.Count, "weight")} of {model.GetName()} not finite as {dtype}, so what it computes will fail: "
                    + "the file is damaged, or has numbers beyond that type; download it again, or load it as BFloat16 or Float32: "
                    + $"{Listing.Inline(notFinite)}.");
        }
    }

    /// <summary>The values in the layout of the parameter they replace. It was chosen for a CPU's kernels.</summary>
    private static Tensor InLayoutOf(Tensor parameter, Tensor values)
    {
        if (values.device_type != DeviceType.CPU || !Layers.IsChannelsLast(parameter))
        {
            return values;
        }

        using var asStored = values;
        return Layers.ChannelsLast(asStored);
    }

    private static void ThrowIfUnfit(nn.Module model, IReadOnlyDictionary<string, WeightSource> sources, string origin)
    {
        using var scope = NewDisposeScope();
        var targets = model.state_dict().ToDictionary(static pair => pair.Key, static pair => (IReadOnlyList<long>)pair.Value.shape, StringComparer.Ordinal);
        List<string> faults =
        [
            .. targets.Where(pair => !sources.ContainsKey(pair.Key))
                .Select(static pair => $"missing: {pair.Key} {Shapes.Text(pair.Value)}").Order(StringComparer.Ordinal),
            .. sources.Where(pair => !targets.ContainsKey(pair.Key))
                .Select(static pair => $"unexpected: {pair.Key} {Shapes.Text(pair.Value.Shape)}").Order(StringComparer.Ordinal),
            .. targets.Where(pair => sources.TryGetValue(pair.Key, out var source) && !source.Shape.SequenceEqual(pair.Value))
                .Select(pair => $"wrong shape: {pair.Key} is {Shapes.Text(sources[pair.Key].Shape)} in the file, expected {Shapes.Text(pair.Value)}")
                .Order(StringComparer.Ordinal),
        ];
        Faults.ThrowIfAny(faults, found => new InvalidDataException(
            $"The weights in '{origin}' do not fit {model.GetName()} as its {ModelFolder.Config} describes it, "
                + $"{Listing.Count(found.Count, "fault")}:\n{Listing.Lines(found)}\nCheck that {ModelFolder.Config} and the weights belong together."));
    }

    /// <summary>TorchSharp has no common way to replace a parameter: each layer has its own setters. All but the embedding's free the old one.</summary>
    private static void Replace(nn.Module module, string name, Parameter old, Tensor values)
    {
        var parameter = new Parameter(values, requires_grad: false);
        switch (module, name)
        {
            case (Linear linear, "weight"):
                linear.weight = parameter;
                break;
            case (Linear linear, "bias"):
                linear.bias = parameter;
                break;
            case (TransposedLinear linear, "weight"):
                linear.Weight = parameter;
                break;
            case (TransposedLinear linear, "bias"):
                linear.Bias = parameter;
                break;
            case (CheckedConv2d convolution, "weight"):
                convolution.Weight = parameter;
                break;
            case (CheckedConv2d convolution, "bias"):
                convolution.Bias = parameter;
                break;
            case (LayerNorm norm, "weight"):
                norm.weight = parameter;
                break;
            case (LayerNorm norm, "bias"):
                norm.bias = parameter;
                break;
            case (RmsNorm norm, "weight"):
                norm.Weight = parameter;
                break;
            case (GroupNorm norm, "weight"):
                norm.weight = parameter;
                break;
            case (GroupNorm norm, "bias"):
                norm.bias = parameter;
                break;
            case (Embedding embedding, "weight"):
                embedding.weight = parameter;
                old.Dispose();
                break;
            default:
                throw new NotSupportedException($"{module.GetName()}.{name} cannot be given weights; add its setter here.");
        }
    }
}
