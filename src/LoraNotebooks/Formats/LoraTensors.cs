using System.Text.Json.Nodes;
using static TorchSharp.torch;

namespace LoraNotebooks.Formats;

/// <summary>Reads the tensors of a LoRA file in any dialect of names into the states of its networks.</summary>
internal static class LoraTensors
{
    /// <summary>Reads a file; a missing or zero alpha means α = r, as upstream takes it.</summary>
    /// <param name="file">The file.</param>
    /// <param name="keys">Its names, taken apart.</param>
    /// <param name="parts">The networks of the model; none if there is no model to fit.</param>
    /// <param name="reading">Is told what is left out.</param>
    /// <param name="states">Receives the states by network, also before an error.</param>
    /// <param name="types">Receives the types of the tensors in the file, by their names.</param>
    public static void Read(
        SafetensorsFile file,
        IReadOnlyList<LoraKey> keys,
        IReadOnlyList<LoraPart> parts,
        LoraReading reading,
        Dictionary<string, LoraState> states,
        Dictionary<string, string> types)
    {
        var configs = DiffusersLoraFile.Configs(file);
        var modules = new LoraModules(parts);
        var found = new Dictionary<string, (Dictionary<string, Tensor> Tensors, Dictionary<string, double> Alphas)>(StringComparer.Ordinal);
        var withoutAlpha = new List<string>();
        using var scope = NewDisposeScope();
        foreach (var key in keys)
        {
            if (key.Part is null)
            {
                ReadOther(key);
                continue;
            }

            var matches = modules.Find(key);
            if (matches.Count != 1)
            {
                reading.Add(LoraNoteKind.Unknown, matches.Count == 0 ? modules.WhyUnknown(key) : "ambiguous: the name may mean several modules", key.Text);
                continue;
            }

            var (network, module) = matches[0];
            types[key.Text] = file.Tensors[key.Text].StoredType;
            var (tensors, alphas) = StateOf(network);
            if (key.Part != LoraKey.Alpha)
            {
                Add(tensors, $"{module}.{key.Part}", key);
                if (key.Counterpart() is { } other && !file.Tensors.ContainsKey(other))
                {
                    reading.IsMissing(other);
                }

                if (key.IsWrapped && key.Part == LoraState.DownPart[1..])
                {
                    withoutAlpha.Add(key.Text);
                }
            }
            else if (file.Tensors[key.Text].Count != 1)
            {
                reading.Add(LoraNoteKind.Damaged, "α must be one number", key.Text);
            }
            else if (!alphas.TryAdd(module, file.Load(key.Text, ScalarType.Float64).item<double>()))
            {
                reading.Add(LoraNoteKind.Damaged, "twice: the file names this module in two ways, expected one", key.Text);
            }
        }

        if (withoutAlpha.Count > 0 && found.Values.All(static state => state.Alphas.Count == 0) && configs.Count == 0)
        {
            withoutAlpha.ForEach(key => reading.Add(
                LoraNoteKind.Assumed,
                $"α is not told, as {PeftFolder.ConfigName} is not there, and taken as the rank, s = 1",
                key));
        }

        foreach (var (network, state) in found)
        {
            var weighed = state.Tensors.Keys.Select(static name => LoraKey.Split(name).Stem).ToHashSet(StringComparer.Ordinal);
            foreach (var module in state.Alphas.Keys.Where(module => !weighed.Contains(module)).ToList())
            {
                state.Alphas.Remove(module);
                reading.Add(LoraNoteKind.Unknown, "an α without weights beside it", $"{network}: {module}");
            }
        }

        foreach (var (network, state) in found.Where(static pair => pair.Value.Tensors.Count > 0))
        {
            foreach (var tensor in state.Tensors.Values)
            {
                tensor.DetachFromDisposeScope();
            }

            states[network] = new LoraState(
                state.Tensors,
                state.Alphas.Where(static alpha => alpha.Value != 0).ToDictionary(StringComparer.Ordinal),
                Config(network));
        }

        (Dictionary<string, Tensor> Tensors, Dictionary<string, double> Alphas) StateOf(string network) =>
            found.TryGetValue(network, out var state) ? state : found[network] = (new(StringComparer.Ordinal), new(StringComparer.Ordinal));

        void Add(Dictionary<string, Tensor> tensors, string name, LoraKey key)
        {
            if (!tensors.TryAdd(name, file.Load(key.Text)))
            {
                reading.Add(
                    LoraNoteKind.Damaged,
                    "twice: the file names this module in two ways, maybe of two adapters; expected one adapter in a file",
                    key.Text);
            }
        }

        // A trained bias or a whole layer keeps PEFT's name; that it is one, the configuration tells.
        void ReadOther(LoraKey key)
        {
            if (LoraKey.WhyUnsupported(key.Text) is { } reason)
            {
                reading.Add(LoraNoteKind.Unsupported, reason, key.Text);
            }
            else if (key.Network is { } network && !key.IsOfKohya && Config(network) is not null
                && (parts.Count == 0 || parts.Any(part => part.Name == network)))
            {
                types[key.Text] = file.Tensors[key.Text].StoredType;
                Add(StateOf(network).Tensors, key.Module, key);
            }
            else
            {
                reading.Add(LoraNoteKind.Unknown, "the name ends like no part of a LoRA", key.Text);
            }
        }

        JsonObject? Config(string network)
        {
            var own = configs
                .Where(pair => pair.Key.StartsWith(network + ".", StringComparison.Ordinal))
                .Select(pair => KeyValuePair.Create(pair.Key[(network.Length + 1)..], pair.Value?.DeepClone()))
                .ToList();
            return own.Count > 0 ? new JsonObject(own) : null;
        }
    }
}
