using LoraNotebooks.Formats;
using static TorchSharp.torch;

namespace LoraNotebooks.Models.Original;

/// <summary>
/// A whole Stable Diffusion model in one file under the names of the original code (CompVis latent-diffusion, Stability's generative-models).
/// Each network takes its tensors by name; what is missing, misshapen or left over is reported together.
/// </summary>
internal sealed class OriginalCheckpoint(SafetensorsFile file)
{
    public const string UNetPrefix = "model.diffusion_model.";
    public const string VaePrefix = "first_stage_model.";

    /// <summary>Constants of the noise schedule, averaged copies and parts of the training that a model does not need to run.</summary>
    private static readonly string[] NotNeeded =
    [
        "model_ema.", "alphas_cumprod", "betas", "log_one_minus_alphas_cumprod", "posterior_", "sqrt_", "logvar", "lvlb_weights", "global_step",
        "denoiser.", "first_stage_model.loss.", "first_stage_model.model_ema.", VPredictionMark, ZeroSnrMark,
    ];

    /// <summary>The same, in text encoders: constant positions and masks, and what only comparing with images needs.</summary>
    private static readonly string[] NotNeededOfText = [".position_ids", ".attn_mask", ".logit_scale", ".text_projection", ".text_projection.weight"];

    private const string VPredictionMark = "v_pred";
    private const string ZeroSnrMark = "ztsnr";

    private readonly HashSet<string> _used = new(StringComparer.Ordinal);
    private readonly List<string> _faults = [];

    public string Path => file.Path;

    /// <summary>How many numbers the file holds.</summary>
    public double Weights { get; } = file.Tensors.Values.Sum(static info => (double)info.Count);

    /// <summary>Whether the file says that its network predicts the velocity, as some SDXL models do.</summary>
    public bool IsMarkedVPrediction => Has(VPredictionMark);

    /// <summary>Whether the file says that its schedule ends without signal.</summary>
    public bool IsMarkedZeroSnr => Has(ZeroSnrMark);

    public bool Has(string key) => file.Tensors.ContainsKey(key);

    public bool HasAny(string prefix) => file.Tensors.Keys.Any(key => key.StartsWith(prefix, StringComparison.Ordinal));

    /// <summary>A tensor's shape.</summary>
    /// <exception cref="InvalidDataException">There is no such tensor.</exception>
    public IReadOnlyList<long> Shape(string key) => file.Tensors.TryGetValue(key, out var info)
        ? info.Shape
        : throw Lacks(key);

    /// <summary>The error of a file without a tensor that tells a network's size.</summary>
    public InvalidDataException Lacks(string key) => new(
        $"'{Path}' has no tensor '{key}', by which the network's size is told. Expected an original Stable Diffusion checkpoint (1.x, 2.x or XL) of "
            + "UNet, autoencoder and text encoders; give the network's config.json beside it if its names are others.");

    /// <summary>One size of a tensor's shape.</summary>
    /// <param name="key">The tensor.</param>
    /// <param name="dimension">Which size, from the front or from the end.</param>
    /// <exception cref="InvalidDataException">There is no such tensor, or it has no such size that a layer could have.</exception>
    public int Size(string key, Index dimension)
    {
        var shape = Shape(key);
        var place = dimension.GetOffset(shape.Count);
        return place >= 0 && place < shape.Count && shape[place] is > 0 and <= int.MaxValue
            ? (int)shape[place]
            : throw new InvalidDataException(
                $"'{Path}' has a tensor '{key}' of shape {Shapes.Text(shape)}, by which the network's size is told; "
                    + $"expected a positive number at place {dimension}. Download the file again, or give the network's config.json beside it.");
    }

    /// <summary>How many numbers from 0 on stand in a name's place.</summary>
    /// <param name="name">The name of a tensor by a number.</param>
    public int Count(Func<int, string> name)
    {
        var count = 0;
        while (Has(name(count)))
        {
            count++;
        }

        return count;
    }

    /// <summary>Where each parameter of a network is; what does not fit is noted for <see cref="ThrowIfUnfit"/>.</summary>
    /// <param name="network">The network.</param>
    /// <param name="name">A parameter's place by its name here.</param>
    public IReadOnlyDictionary<string, WeightSource> Sources(nn.Module network, Func<string, OriginalTensor> name)
    {
        using var scope = NewDisposeScope();
        var sources = new Dictionary<string, WeightSource>(StringComparer.Ordinal);
        foreach (var (parameter, tensor) in network.state_dict())
        {
            var place = name(parameter);
            if (!Has(place.Key))
            {
                _faults.Add($"missing: {place.Key} ({network.GetName()}'s {parameter} {Shapes.Text(tensor.shape)})");
                continue;
            }

            _used.Add(place.Key);
            var source = place.In(file);
            sources[parameter] = source;
            if (!source.Shape.SequenceEqual(tensor.shape))
            {
                _faults.Add(
                    $"wrong shape: {place.Key} is {Shapes.Text(file.Tensors[place.Key].Shape)}, "
                        + $"expected values for {network.GetName()}'s {parameter} {Shapes.Text(tensor.shape)}");
            }
        }

        return sources;
    }

    /// <summary>Notes tensors that the model has and does not use.</summary>
    public void Ignore(string prefix) => _used.UnionWith(file.Tensors.Keys.Where(key => key.StartsWith(prefix, StringComparison.Ordinal)));

    /// <summary>
    /// Refuses what did not fit, and tensors of the networks that nothing asked for. Others are no part of
    /// the model: they are left out and told in one line.
    /// </summary>
    /// <exception cref="InvalidDataException">There is something to refuse; then all that is strange is told.</exception>
    public void ThrowIfUnfit()
    {
        var unknown = file.Tensors.Keys.Where(key => !_used.Contains(key) && !IsNotNeeded(key)).Order(StringComparer.Ordinal).ToList();
        if (_faults.Count == 0 && !unknown.Exists(IsOfNetwork))
        {
            if (unknown.Count > 0)
            {
                Notice.Tell(
                    $"'{Path}': left out {Listing.Count(unknown.Count, "tensor")} that belong to no network of Stable Diffusion: {Listing.Inline(unknown)}.");
            }

            return;
        }

        _faults.AddRange(unknown.Select(key => $"unknown: {key} {Shapes.Text(file.Tensors[key].Shape)}"));
        if (_faults.Count > 0)
        {
            _faults.Sort(StringComparer.Ordinal);
            throw new InvalidDataException(
                $"'{Path}' does not fit the Stable Diffusion model that its shapes or the given configurations describe, "
                    + $"{Listing.Count(_faults.Count, "fault")}:\n{Listing.Lines(_faults)}\nExpected the tensors of one UNet, one autoencoder and "
                    + "their text encoders, all under the original names. If it is another kind of model, use its folder in diffusers layout.");
        }
    }

    private static bool IsOfNetwork(string key) =>
        key.StartsWith(UNetPrefix, StringComparison.Ordinal) || key.StartsWith(VaePrefix, StringComparison.Ordinal) || OriginalText.IsOfText(key);

    private static bool IsNotNeeded(string key) =>
        NotNeeded.Any(prefix => key.StartsWith(prefix, StringComparison.Ordinal))
        || (OriginalText.IsOfText(key) && NotNeededOfText.Any(suffix => key.EndsWith(suffix, StringComparison.Ordinal)));
}
