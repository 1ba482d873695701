using LoraNotebooks.Tensors;
using static TorchSharp.torch;

namespace LoraNotebooks.Adapters;

/// <summary>Which modules of a model an adapter's settings mean.</summary>
/// <param name="modules">Path → module, in the model's order.</param>
/// <param name="roles">What layers are for, where the model tells.</param>
internal sealed class TargetFinder(IReadOnlyDictionary<string, nn.Module> modules, ILayerRoles? roles)
{
    private const string Expected = "a Linear, plain or transposed, a Conv2d that pads with zeros, or an Embedding";
    private const int Suggestions = 3;

    /// <summary>The layers that get a low-rank update.</summary>
    /// <param name="config">The settings.</param>
    /// <param name="strict">
    /// Whether a name or pattern that means no module is a fault; a configuration from a file may name modules that only other models have.
    /// </param>
    /// <exception cref="ArgumentException">The settings do not fit the model; every fault is listed.</exception>
    public IReadOnlyList<WeightLayer> Targets(LoraConfig config, bool strict)
    {
        var faults = new Faults();
        var layers = new List<WeightLayer>();
        foreach (var (path, module) in modules)
        {
            if (!config.TargetModules.Matches(path) || config.ExcludeModules?.Matches(path) == true || IsSaved(config, path) || !IsInChosenBlock(config, path))
            {
                continue;
            }

            if (config.TargetModules.IsAllLinear && (module is not (TorchSharp.Modules.Linear or TransposedLinear) || path == roles?.OutputHead))
            {
                continue;
            }

            if (WeightLayer.From(path, module, roles) is { } layer)
            {
                layers.Add(layer);
                faults.AddRange(config.Method.WhyNot(layer) is { } reason ? [$"TargetModules: '{path}' {reason}"] : []);
            }
            else if (!config.TargetModules.IsRegex)
            {
                faults.Add($"TargetModules: '{path}' is a {module.GetType().Name}, expected {Expected}");
            }
        }

        if (strict)
        {
            faults.AddRange(config.TargetModules.Unmatched([.. modules.Keys])
                .Select(name => $"TargetModules: '{name}' means no module of the model{CloseTo(name)}"));
            faults.AddRange(UnusedPatterns(nameof(LoraConfig.RankPattern), config.RankPattern.Keys, layers));
            faults.AddRange(UnusedPatterns(nameof(LoraConfig.AlphaPattern), config.AlphaPattern.Keys, layers));
        }

        if (layers.Count == 0 && faults.Count == 0)
        {
            faults.Add(
                $"TargetModules: '{config.TargetModules}' means no layer that is left after exclusions"
                + CloseTo(config.TargetModules.First()));
        }

        ThrowIfAny(faults);
        return layers;
    }

    /// <summary>The layers that train whole.</summary>
    /// <exception cref="ArgumentException">A name means no module, or one of another kind.</exception>
    public IReadOnlyList<WeightLayer> Saved(LoraConfig config)
    {
        var faults = new Faults();
        var layers = new List<WeightLayer>();
        foreach (var name in config.ModulesToSave.Distinct())
        {
            var matches = modules.Where(pair => ModuleSelection.Matches(name, pair.Key)).ToList();
            if (matches.Count == 0)
            {
                faults.Add($"ModulesToSave: '{name}' means no module of the model{CloseTo(name)}");
            }

            foreach (var (path, module) in matches)
            {
                if (layers.Any(layer => layer.Path == path))
                {
                    continue; // Two names may mean one module.
                }

                if (WeightLayer.From(path, module, roles) is { } layer)
                {
                    layers.Add(layer);
                }
                else
                {
                    faults.Add($"ModulesToSave: '{path}' is a {module.GetType().Name}, expected {Expected}");
                }
            }
        }

        ThrowIfAny(faults);
        return layers;
    }

    /// <summary>The layers whose bias trains along.</summary>
    /// <exception cref="ArgumentException">A bias belongs to a module that cannot be hooked.</exception>
    public IReadOnlyList<BaseLayer> Biased(LoraConfig config, IReadOnlyList<WeightLayer> targets) => config.Bias switch
    {
        BiasTraining.None => [],
        BiasTraining.LoraOnly => [.. targets.Where(static layer => layer.Bias is not null)],
        _ => [.. modules
            .Where(pair => pair.Value.get_parameter("bias") is not null && !IsSaved(config, pair.Key))
            .Select(pair => pair.Value is nn.Module<Tensor, Tensor> module
                ? WeightLayer.From(pair.Key, module, roles) ?? new BaseLayer(pair.Key, module)
                : throw new ArgumentException(
                    $"Bias: '{pair.Key}' is a {pair.Value.GetType().Name} with a bias that cannot be adapted, "
                    + "expected modules with one input and one output. Use BiasTraining.LoraOnly or None."))],
    };

    private static bool IsSaved(LoraConfig config, string path) => config.ModulesToSave.Any(name => ModuleSelection.Matches(name, path));

    /// <summary>The first numbered part of the path ("layers.3." in "model.layers.3.attn.q") tells the block.</summary>
    private static bool IsInChosenBlock(LoraConfig config, string path)
    {
        if (config.LayersToTransform.Count == 0 || config.TargetModules.Contains(path))
        {
            return true;
        }

        IReadOnlyList<string> names = config.LayersPattern.Count == 0 ? ["[^.]*"] : config.LayersPattern;
        var block = names
            .Select(name => ModuleSelection.Compile($@"^.*?\.(?:{name})\.(?<block>\d+)\.").Expression!.Match(path))
            .FirstOrDefault(static match => match.Success);
        return block is not null && config.LayersToTransform.Contains(int.Parse(block.Groups["block"].Value));
    }

    private static IEnumerable<string> UnusedPatterns(string key, IEnumerable<string> patterns, List<WeightLayer> layers) => patterns
        .Where(pattern => !layers.Any(layer => LoraConfig.PatternMatches(pattern, layer.Path)))
        .Select(pattern => $"{key}: '{pattern}' means none of the target modules");

    /// <summary>Names of layers that look like a name, for a typing error.</summary>
    private string CloseTo(string name)
    {
        var length = name.Count(static c => c == '.') + 1;
        var close = modules
            .Where(pair => WeightLayer.From(pair.Key, pair.Value, roles) is not null)
            .Select(pair => string.Join('.', pair.Key.Split('.')[^Math.Min(length, pair.Key.Split('.').Length)..]))
            .Distinct()
            .OrderBy(candidate => EditDistance(name, candidate)).ThenBy(static candidate => candidate, StringComparer.Ordinal)
            .Take(Suggestions)
            .ToList();
        return close.Count == 0 ? "; the model has no layer that can be adapted" : $"; close names are '{string.Join("', '", close)}'";
    }

    /// <summary>Levenshtein's distance: how many letters must be put in, left out or replaced.</summary>
    private static int EditDistance(string a, string b)
    {
        var row = Enumerable.Range(0, b.Length + 1).ToArray();
        for (var i = 1; i <= a.Length; i++)
        {
            var diagonal = row[0];
            row[0] = i;
            for (var j = 1; j <= b.Length; j++)
            {
                var replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
                diagonal = row[j];
                row[j] = Math.Min(replaced, Math.Min(row[j - 1], row[j]) + 1);
            }
        }

        return row[^1];
    }

    private static void ThrowIfAny(Faults faults) =>
        Faults.ThrowIfAny(faults, static found => new ArgumentException($"The adapter does not fit the model:\n{Listing.Lines(found)}"));
}
