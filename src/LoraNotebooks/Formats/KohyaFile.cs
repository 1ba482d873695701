using System.Globalization;
using System.Text.Json.Nodes;
using static TorchSharp.torch;

namespace LoraNotebooks.Formats;

/// <summary>
/// The LoRA file of kohya-ss/sd-scripts and LyCORIS, which WebUI and ComfyUI read: <c>&lt;prefix&gt;_&lt;path with underscores&gt;</c> with
/// <c>.lora_down.weight</c> (A), <c>.lora_up.weight</c> (B) or LyCORIS' factors, <c>.alpha</c> (a scalar), and training facts as metadata.
/// </summary>
/// <remarks>Source: sd-scripts, networks/lora.py and library/train_util.py; LyCORIS, lycoris/modules.</remarks>
public static class KohyaFile
{
    private const string Arguments = "ss_network_args";

    /// <summary>Writes a file.</summary>
    /// <param name="path">The file to write or replace.</param>
    /// <param name="parts">The networks and their adapters.</param>
    /// <param name="metadata">
    /// Facts to note, e.g. <c>ss_output_name</c>. What the weights themselves tell (<c>ss_network_module</c>, <c>ss_network_dim</c>,
    /// <c>ss_network_alpha</c>, the hashes) is always written as they tell it.
    /// </param>
    /// <param name="dtype">
    /// The type of the weights in the file, default float32, which reads back exactly; <see langword="null"/> keeps each weight's own.
    /// </param>
    /// <exception cref="ArgumentException">An adapter has weights for which the format has no name, or that are too large for the type.</exception>
    /// <exception cref="InvalidDataException">Some weights are not finite. Nothing is written then, as in the other cases.</exception>
    public static void Write(
        string path,
        IReadOnlyList<(LoraPart Part, LoraState State)> parts,
        IReadOnlyDictionary<string, string>? metadata = null,
        ScalarType? dtype = ScalarType.Float32)
    {
        ArgumentNullException.ThrowIfNull(parts);
        using var scope = NewDisposeScope();
        var strange = new List<string>();
        var casting = new FiniteCast(path, dtype);
        var tensors = new Dictionary<string, Tensor>(StringComparer.Ordinal);
        foreach (var (network, state) in parts)
        {
            var names = KohyaNames.Of(network)
                .DistinctBy(static pair => pair.Path)
                .ToDictionary(static pair => pair.Path, static pair => pair.Name, StringComparer.Ordinal);
            foreach (var (name, weight) in state.Tensors)
            {
                var factor = LoraNames.OwnerOf(name)?.Factor;
                var module = factor?.ModuleOf(name) ?? "";
                if (factor?.Kohya is null || !names.TryGetValue(module, out var written) || IsScaledWhole(state, module))
                {
                    strange.Add(name);
                    continue;
                }

                tensors[$"{written}.{factor.Kohya}"] = casting.Of(
                    name, name.EndsWith(LoraState.MagnitudePart, StringComparison.Ordinal) ? WithDimensionsOf(state, module, weight) : weight);
            }

            foreach (var (module, rank) in state.Ranks.Where(pair => names.ContainsKey(pair.Key)))
            {
                var type = dtype ?? state.Tensors.First(pair => pair.Key.StartsWith(module + ".", StringComparison.Ordinal)).Value.dtype;
                tensors[$"{names[module]}.{LoraKey.Alpha}"] = casting.Of(
                    $"{module}.{LoraKey.Alpha}",
                    tensor(state.Alphas.GetValueOrDefault(module, rank), ScalarType.Float64),
                    type);
            }
        }

        if (strange.Count > 0)
        {
            throw new ArgumentException(
                "A kohya file holds only low-rank updates of linear layers and convolutions, and whole Kronecker products at scale 1. "
                    + $"It has no place for these; save as a PEFT folder:\n{Listing.Lines([.. strange.Order(StringComparer.Ordinal)])}");
        }

        casting.ThrowIfUnfit();
        var facts = new Dictionary<string, string>(metadata ?? new Dictionary<string, string>(), StringComparer.Ordinal);
        foreach (var (key, value) in NetworkFacts(parts))
        {
            facts[key] = key == Arguments ? WithAlgorithm(facts.GetValueOrDefault(key), value) : value;
        }

        (facts["sshs_model_hash"], facts["sshs_legacy_hash"]) = HashesOf(path, tensors, facts);
        facts["modelspec.hash_sha256"] = $"0x{facts["sshs_model_hash"]}";
        SafetensorsFile.Write(path, tensors, facts);
    }

    /// <summary>The hashes by which WebUI knows a LoRA file.</summary>
    /// <inheritdoc cref="KohyaHashes.OfLora"/>
    public static (string Model, string Legacy) Hashes(string path) => KohyaHashes.OfLora(path);

    /// <summary>PEFT keeps m of a linear layer flat and that of a convolution as [1, out, 1, 1]; LyCORIS keeps it as [out, 1] and [out, 1, 1, 1].</summary>
    private static Tensor WithDimensionsOf(LoraState state, string module, Tensor m)
    {
        var isConvolution = m.dim() == 4 || (state.Tensors.TryGetValue(module + LoraState.DownPart, out var down) && down.dim() == 4);
        return m.reshape(isConvolution ? [-1, 1, 1, 1] : [-1, 1]);
    }

    /// <summary>A Kronecker product of two whole matrices has scale 1 in kohya's files, whatever α is; PEFT scales it by α/r.</summary>
    private static bool IsScaledWhole(LoraState state, string module) =>
        LoraNames.IsUnscaled(state, module) && state.Config is { } config && config["alpha"]?.ToString() != config["r"]?.ToString();

    private static Dictionary<string, string> NetworkFacts(IReadOnlyList<(LoraPart Part, LoraState State)> parts)
    {
        string[] names = [.. parts.SelectMany(static pair => pair.State.Tensors.Keys)];
        var algorithms = names.Select(static name => LoraNames.OwnerOf(name)?.Dialect.Algorithm).OfType<string>().Distinct().ToList();
        var isPlain = names.All(static name =>
            name.EndsWith(LoraState.DownPart, StringComparison.Ordinal) || name.EndsWith(LoraState.UpPart, StringComparison.Ordinal));
        var facts = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["ss_network_module"] = isPlain ? "networks.lora" : "lycoris.kohya",
            ["ss_network_dim"] = CommonValue(
                parts.SelectMany(static pair => pair.State.Ranks.Values),
                static rank => rank.ToString(CultureInfo.InvariantCulture)),
            ["ss_network_alpha"] = CommonValue(
                parts.SelectMany(static pair => pair.State.Ranks.Select(rank => pair.State.Alphas.GetValueOrDefault(rank.Key, rank.Value))),
                static alpha => alpha.ToString(alpha == Math.Truncate(alpha) ? "F1" : "R", CultureInfo.InvariantCulture)),
        };
        if (!isPlain && algorithms is [var algorithm])
        {
            facts[Arguments] = algorithm;
        }

        return facts;
    }

    /// <summary>The network's arguments as they were noted, with the algorithm that the weights tell; those of another algorithm mean nothing here.</summary>
    private static string WithAlgorithm(string? noted, string algorithm)
    {
        var arguments = new JsonObject();
        try
        {
            arguments = noted is null ? arguments : PythonJson.ParseObject(noted, Arguments);
        }
        catch (InvalidDataException)
        {
            // A note that cannot be read tells nothing.
        }

        const string key = "algo";
        if (arguments[key]?.ToString() is { } other && other != algorithm && !(other == "locon" && algorithm == "lora"))
        {
            arguments.Clear();
        }

        arguments.TryAdd(key, algorithm);
        return arguments.ToJsonString();
    }

    /// <summary>The one value, or the word that kohya's own tools write where layers differ.</summary>
    private static string CommonValue<T>(IEnumerable<T> values, Func<T, string> text) => values.Distinct().ToList() is [var only] ? text(only) : "Dynamic";

    /// <summary>The hashes are those of a file that has only the training facts (ss_…): notes that a user adds later must not change them.</summary>
    private static (string Model, string Legacy) HashesOf(string path, Dictionary<string, Tensor> tensors, Dictionary<string, string> facts)
    {
        var temporary = $"{Path.GetFullPath(path)}.{Guid.NewGuid():N}.hash";
        try
        {
            SafetensorsFile.Write(temporary, tensors, facts.Where(static fact => fact.Key.StartsWith("ss_", StringComparison.Ordinal)).ToDictionary());
            return KohyaHashes.OfLora(temporary);
        }
        finally
        {
            File.Delete(temporary);
        }
    }
}
