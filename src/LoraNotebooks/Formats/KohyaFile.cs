using System.Globalization;
using System.Security.Cryptography;
using static TorchSharp.torch;

namespace LoraNotebooks.Formats;

/// <summary>
/// The LoRA file of kohya-ss/sd-scripts, which WebUI and ComfyUI read: <c>&lt;prefix&gt;_&lt;path with underscores&gt;</c> with
/// <c>.lora_down.weight</c> (A), <c>.lora_up.weight</c> (B) and <c>.alpha</c> (a scalar), and training facts as metadata.
/// </summary>
/// <remarks>Source: sd-scripts, networks/lora.py and library/train_util.py.</remarks>
public static class KohyaFile
{
    private const string Down = "lora_down.weight";
    private const string Up = "lora_up.weight";
    private const string Alpha = "alpha";

    /// <summary>Writes a file.</summary>
    /// <param name="path">The file to write or replace.</param>
    /// <param name="parts">The networks and their adapters.</param>
    /// <param name="metadata">
    /// Facts to note, e.g. <c>ss_output_name</c>. What the weights themselves tell (<c>ss_network_module</c>, <c>ss_network_dim</c>,
    /// <c>ss_network_alpha</c>, the hashes) is always written as they tell it.
    /// </param>
    /// <param name="dtype">The type of the weights in the file, default float32, which reads back exactly.</param>
    /// <exception cref="ArgumentException">An adapter has weights for which the format has no name; all are listed.</exception>
    public static void Write(string path, IReadOnlyList<(LoraPart Part, LoraState State)> parts, IReadOnlyDictionary<string, string>? metadata = null, ScalarType dtype = ScalarType.Float32)
    {
        ArgumentNullException.ThrowIfNull(parts);
        using var scope = NewDisposeScope();
        var strange = parts.SelectMany(static pair => pair.State.Tensors.Keys).Where(static name => !IsPlain(name)).Order(StringComparer.Ordinal).ToList();
        if (strange.Count > 0)
        {
            throw new ArgumentException($"A kohya file holds only the lora_A and lora_B weights of linear layers and convolutions. It has no names for these; save as a PEFT folder:\n- {string.Join("\n- ", strange)}");
        }

        var tensors = new Dictionary<string, Tensor>(StringComparer.Ordinal);
        foreach (var (part, state) in parts)
        {
            foreach (var (module, rank) in state.Ranks)
            {
                var name = Underscored(part, module);
                tensors[$"{name}.{Down}"] = state.Tensors[module + LoraState.DownPart].to(dtype);
                tensors[$"{name}.{Up}"] = state.Tensors[module + LoraState.UpPart].to(dtype);
                tensors[$"{name}.{Alpha}"] = tensor(state.Alphas.GetValueOrDefault(module, rank), dtype);
            }
        }

        var facts = new Dictionary<string, string>(metadata ?? new Dictionary<string, string>(), StringComparer.Ordinal)
        {
            ["ss_network_module"] = "networks.lora",
            ["ss_network_dim"] = CommonValue(parts.SelectMany(static pair => pair.State.Ranks.Values), static rank => rank.ToString(CultureInfo.InvariantCulture)),
            ["ss_network_alpha"] = CommonValue(
                parts.SelectMany(static pair => pair.State.Ranks.Select(rank => pair.State.Alphas.GetValueOrDefault(rank.Key, rank.Value))),
                static alpha => alpha.ToString(alpha == Math.Truncate(alpha) ? "F1" : "R", CultureInfo.InvariantCulture)),
        };
        (facts["sshs_model_hash"], facts["sshs_legacy_hash"]) = HashesOf(path, tensors, facts);
        facts["modelspec.hash_sha256"] = $"0x{facts["sshs_model_hash"]}";
        SafetensorsFile.Write(path, tensors, facts);
    }

    /// <summary>The hashes by which WebUI knows a file, of a file that is there.</summary>
    /// <param name="path">The file.</param>
    /// <returns>
    /// SHA-256 over all that follows the header, and the older one: 8 hexadecimal digits of SHA-256 over 64 KiB from 1 MiB on,
    /// which is that of nothing for a smaller file.
    /// </returns>
    public static (string Model, string Legacy) Hashes(string path)
    {
        using var stream = File.OpenRead(path);
        Span<byte> length = stackalloc byte[8];
        stream.ReadExactly(length);
        stream.Position = 8 + BitConverter.ToInt64(length);
        var model = Convert.ToHexStringLower(SHA256.HashData(stream));

        var window = new byte[0x10000];
        stream.Position = Math.Min(0x100000, stream.Length);
        var read = stream.ReadAtLeast(window, window.Length, throwOnEndOfStream: false);
        return (model, Convert.ToHexStringLower(SHA256.HashData(window.AsSpan(0, read)))[..8]);
    }

    /// <summary>Reads a file; a missing or zero alpha means α = r, as upstream takes it.</summary>
    internal static Dictionary<string, LoraState> Read(SafetensorsFile file, IReadOnlyList<LoraPart> parts)
    {
        // Underscores cannot be turned back into dots by rule ("to_q" has one of its own), so names are looked up among the model's modules.
        var modules = parts
            .SelectMany(static part => part.ModulePaths.Select(module => (Name: Underscored(part, module), Part: part, Module: module)))
            .ToLookup(static entry => entry.Name, StringComparer.Ordinal);
        var faults = new List<string>();
        var found = new Dictionary<string, (Dictionary<string, Tensor> Tensors, Dictionary<string, double> Alphas)>(StringComparer.Ordinal);
        using var scope = NewDisposeScope();
        foreach (var key in file.Tensors.Keys.Order(StringComparer.Ordinal))
        {
            var dot = key.IndexOf('.', StringComparison.Ordinal);
            var (name, item) = dot < 0 ? (key, "") : (key[..dot], key[(dot + 1)..]);
            var matches = modules[name].ToList();
            if (matches.Count != 1)
            {
                faults.Add(matches.Count == 0 ? $"unexpected: {key} (the model has no such module)" : $"ambiguous: {key} may mean {string.Join(" or ", matches.Select(static match => match.Module))}");
                continue;
            }

            var (_, part, module) = matches[0];
            if (!found.TryGetValue(part.Name, out var state))
            {
                found[part.Name] = state = (new(StringComparer.Ordinal), new(StringComparer.Ordinal));
            }

            switch (item)
            {
                case Down:
                    state.Tensors[module + LoraState.DownPart] = file.Load(key);
                    break;
                case Up:
                    state.Tensors[module + LoraState.UpPart] = file.Load(key);
                    break;
                case Alpha when file.Tensors[key].Count == 1:
                    state.Alphas[module] = file.Load(key, ScalarType.Float64).item<double>();
                    break;
                default:
                    faults.Add($"unexpected: {key} ({(item == Alpha ? "α must be one number" : $"of a LoRA, {Down}, {Up} and {Alpha} are known")})");
                    break;
            }

            foreach (var (mine, other, otherName) in new[] { (Down, Up, Up), (Up, Down, Down) })
            {
                if (item == mine && !file.Tensors.ContainsKey($"{name}.{other}"))
                {
                    faults.Add($"missing: {name}.{otherName}");
                }
            }
        }

        if (faults.Count > 0)
        {
            throw new InvalidDataException($"'{file.Path}' does not fit this model ({faults.Count} fault{(faults.Count == 1 ? "" : "s")}):\n- {string.Join("\n- ", faults)}");
        }

        return found.ToDictionary(static pair => pair.Key, static pair => new LoraState(
            pair.Value.Tensors.ToDictionary(static t => t.Key, static t => t.Value.DetachFromDisposeScope(), StringComparer.Ordinal),
            pair.Value.Alphas.Where(static alpha => alpha.Value != 0).ToDictionary(StringComparer.Ordinal)));
    }

    private static string Underscored(LoraPart part, string module) => $"{part.KohyaPrefix}_{module.Replace('.', '_')}";

    private static bool IsPlain(string name) => name.EndsWith(LoraState.DownPart, StringComparison.Ordinal) || name.EndsWith(LoraState.UpPart, StringComparison.Ordinal);

    /// <summary>The one value, or the word that kohya's own tools write where layers differ.</summary>
    private static string CommonValue<T>(IEnumerable<T> values, Func<T, string> text) => values.Distinct().ToList() is [var only] ? text(only) : "Dynamic";

    /// <summary>The hashes are those of a file that has only the training facts (ss_…): notes that a user adds later must not change them.</summary>
    private static (string Model, string Legacy) HashesOf(string path, Dictionary<string, Tensor> tensors, Dictionary<string, string> facts)
    {
        var temporary = $"{Path.GetFullPath(path)}.{Guid.NewGuid():N}.hash";
        try
        {
            SafetensorsFile.Write(temporary, tensors, facts.Where(static fact => fact.Key.StartsWith("ss_", StringComparison.Ordinal)).ToDictionary());
            return Hashes(temporary);
        }
        finally
        {
            File.Delete(temporary);
        }
    }
}
