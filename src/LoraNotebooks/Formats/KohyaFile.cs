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
    private const string Down = "lora_down.weight";
    private const string Up = "lora_up.weight";
    private const string Alpha = "alpha";
    private const string Magnitude = "dora_scale";
    private const string Arguments = "ss_network_args";
    private const string PeftMagnitude = "lora_magnitude_vector";

    /// <summary>What kohya calls a part → what PEFT calls it. LyCORIS' factors are called the same by both.</summary>
    private static readonly Dictionary<string, string> Parts = new(StringComparer.Ordinal)
    {
        [Down] = LoraState.DownPart[1..],
        [Up] = LoraState.UpPart[1..],
        ["lora_mid.weight"] = "lora_mid.weight",
        ["hada_w1_a"] = "hada_w1_a",
        ["hada_w1_b"] = "hada_w1_b",
        ["hada_w2_a"] = "hada_w2_a",
        ["hada_w2_b"] = "hada_w2_b",
        ["hada_t1"] = "hada_t1",
        ["hada_t2"] = "hada_t2",
        ["lokr_w1"] = "lokr_w1",
        ["lokr_w1_a"] = "lokr_w1_a",
        ["lokr_w1_b"] = "lokr_w1_b",
        ["lokr_w2"] = "lokr_w2",
        ["lokr_w2_a"] = "lokr_w2_a",
        ["lokr_w2_b"] = "lokr_w2_b",
        ["lokr_t2"] = "lokr_t2",
        [Magnitude] = Magnitude,
    };

    private static readonly Dictionary<string, string> KohyasParts = Parts
        .Select(static pair => KeyValuePair.Create(pair.Value, pair.Key))
        .Append(KeyValuePair.Create(PeftMagnitude, Magnitude))
        .ToDictionary(StringComparer.Ordinal);

    /// <summary>Writes a file.</summary>
    /// <param name="path">The file to write or replace.</param>
    /// <param name="parts">The networks and their adapters.</param>
    /// <param name="metadata">
    /// Facts to note, e.g. <c>ss_output_name</c>. What the weights themselves tell (<c>ss_network_module</c>, <c>ss_network_dim</c>,
    /// <c>ss_network_alpha</c>, the hashes) is always written as they tell it.
    /// </param>
    /// <param name="dtype">The type of the weights in the file, default float32, which reads back exactly; <see langword="null"/> keeps each weight's own.</param>
    /// <exception cref="ArgumentException">An adapter has weights for which the format has no name, or that are too large for the type.</exception>
    /// <exception cref="InvalidDataException">Some weights are not finite. Nothing is written then, as in the other cases.</exception>
    public static void Write(string path, IReadOnlyList<(LoraPart Part, LoraState State)> parts, IReadOnlyDictionary<string, string>? metadata = null, ScalarType? dtype = ScalarType.Float32)
    {
        ArgumentNullException.ThrowIfNull(parts);
        using var scope = NewDisposeScope();
        var strange = new List<string>();
        var casting = new FiniteCast(path, dtype);
        var tensors = new Dictionary<string, Tensor>(StringComparer.Ordinal);
        foreach (var (network, state) in parts)
        {
            var names = KohyaNames.Of(network).DistinctBy(static pair => pair.Path).ToDictionary(static pair => pair.Path, static pair => pair.Name, StringComparer.Ordinal);
            foreach (var (name, weight) in state.Tensors)
            {
                var part = KohyasParts.FirstOrDefault(pair => name.EndsWith("." + pair.Key, StringComparison.Ordinal));
                var module = name[..^((part.Key?.Length ?? name.Length - 1) + 1)];
                if (!names.TryGetValue(module, out var written) || IsScaledWhole(state, module))
                {
                    strange.Add(name);
                    continue;
                }

                tensors[$"{written}.{part.Value}"] = casting.Of(name, part.Key == PeftMagnitude ? WithDimensionsOf(state, module, weight) : weight);
            }

            foreach (var (module, rank) in state.Ranks.Where(pair => names.ContainsKey(pair.Key)))
            {
                var type = dtype ?? state.Tensors.First(pair => pair.Key.StartsWith(module + ".", StringComparison.Ordinal)).Value.dtype;
                tensors[$"{names[module]}.{Alpha}"] = casting.Of($"{module}.{Alpha}", tensor(state.Alphas.GetValueOrDefault(module, rank), ScalarType.Float64), type);
            }
        }

        if (strange.Count > 0)
        {
            throw new ArgumentException($"A kohya file holds only low-rank updates of linear layers and convolutions, and whole Kronecker products at scale 1. It has no place for these; save as a PEFT folder:\n{Listing.Lines([.. strange.Order(StringComparer.Ordinal)])}");
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
        state.Tensors.ContainsKey($"{module}.lokr_w1") && state.Tensors.ContainsKey($"{module}.lokr_w2")
        && state.Config is { } config && config["alpha"]?.ToString() != config["r"]?.ToString();

    private static Dictionary<string, string> NetworkFacts(IReadOnlyList<(LoraPart Part, LoraState State)> parts)
    {
        var items = parts.SelectMany(static pair => pair.State.Tensors.Keys).Select(static name => name[(name.LastIndexOf('.') + 1)..]).ToHashSet(StringComparer.Ordinal);
        var algorithms = new[] { ("loha", "hada_w1_a"), ("lokr", "lokr_w2"), ("lokr", "lokr_w2_b"), ("lora", "weight") }
            .Where(pair => items.Contains(pair.Item2)).Select(static pair => pair.Item1).Distinct().ToList();
        var isPlain = items.SetEquals(["weight"]) && !parts.Any(static pair => pair.State.Tensors.Keys.Any(static name => name.EndsWith(".lora_mid.weight", StringComparison.Ordinal)));
        var facts = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["ss_network_module"] = isPlain ? "networks.lora" : "lycoris.kohya",
            ["ss_network_dim"] = CommonValue(parts.SelectMany(static pair => pair.State.Ranks.Values), static rank => rank.ToString(CultureInfo.InvariantCulture)),
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
