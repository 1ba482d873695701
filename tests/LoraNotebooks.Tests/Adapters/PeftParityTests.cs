using LoraNotebooks.Adapters;
using LoraNotebooks.Adapters.Methods;
using LoraNotebooks.Formats;
using LoraNotebooks.Tests.Models;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Adapters;

/// <summary>
/// Adapters against huggingface/peft: outputs, losses, gradients and merged weights of the peft-variants cases, on a stack of layers, Llama and GPT-2.
/// The repository ships some of the cases on language models; all run from the folder of LORANOTEBOOKS_FIXTURES.
/// </summary>
[Trait("Category", "Parity")]
public sealed class PeftParityTests(ParityTable table) : IClassFixture<ParityTable>
{
    private const string Variants = "peft-variants";

    /// <summary>What is not run here, by folder or by PEFT's name of the method, each with its reason.</summary>
    private static readonly Dictionary<string, string> Later = new(StringComparer.Ordinal)
    {
        ["IA3"] = "vectors that scale activations are a method of their own, not built yet",
        ["OFT"] = "orthogonal rotations are a method of their own, not built yet",
        ["VERA"] = "projections that all layers share are a method of their own, not built yet",
        ["ADALORA"] = "ranks that change in training are a method of their own, not built yet",
        ["adalora-60-steps"] = "AdaLoRA's training schedule, with the method",
        ["weighted-adapters"] = "one adapter made of several by weights (add_weighted_adapter), not built yet",
        ["stack/init-olora"] = "initialisation from the base's own weights changes the base, not built yet",
        ["stack/init-pissa"] = "initialisation from the base's own weights changes the base, not built yet",
    };

    /// <summary>Cases on language models that must be there wherever all cases are at hand.</summary>
    private static readonly string[] Required =
    [
        "gpt2/dora-all", "gpt2/lora-c_attn", "llama/dora-all-linear", "llama/dora-qv", "llama/exclude_modules", "llama/loha", "llama/lokr",
        "llama/lora-all-linear",
        "llama/lora-embed-modules_to_save", "llama/lora-layers_to_transform", "llama/lora-qkvo", "llama/lora-rank_pattern", "llama/lora-regex-layers",
        "llama/rslora-qv",
    ];

    /// <summary>Every case of the kinds LoRA, LoHa and LoKr: base, case.</summary>
    public static TheoryData<string, string> SupportedCases { get; } = Fixtures.Rows(Supported());

    [Theory]
    [MemberData(nameof(SupportedCases))]
    public void Adapter_LoadedFromPeft_GivesPeftsOutputsGradientsAndMergedWeights(string baseName, string name)
    {
        using var scope = NewDisposeScope();
        var tolerance = Fixtures.Json(Variants, baseName, name, "case.json").GetProperty("tolerance");
        var expected = Fixtures.Tensors(Variants, baseName, name, "expected.safetensors");
        using var model = PeftBase.Load(baseName);
        using var adapted = new AdaptedModel(model.Model);
        using var state = PeftFolder.Read(Fixtures.Case(Variants, baseName, name));
        adapted.Add(name, state);
        Assert.Equal(AdaptedModules(baseName, name), LowRankPaths(adapted, name));

        var (output, loss) = model.Run();
        loss.backward();
        Check("output", "output", expected["output"], output);
        Check("loss", "output", expected["loss"], loss);

        var gradients = expected.Where(static pair => pair.Key.StartsWith("grad.", StringComparison.Ordinal)).ToList();
        Assert.Equal(gradients.Count, adapted.TrainableParameters(name).Count);
        foreach (var (key, gradient) in gradients)
        {
            var path = key["grad.base_model.model.".Length..].Replace(".modules_to_save", "").Replace("magnitude_vector.weight", "magnitude_vector");
            Check("grad", "grad", gradient, adapted.NamedParameters(name).Single(p => p.Name == path).Parameter.grad!, path);
        }

        using var noGrad = no_grad();
        adapted.Merge();
        Check("merged output", "merged", expected["merged.output"], model.Run().Output);
        foreach (var (key, weight) in expected.Where(static pair => pair.Key.StartsWith("merged_weight.", StringComparison.Ordinal)))
        {
            Check("merged weight", "merged", weight, model.Model.get_parameter(key["merged_weight.".Length..])!, key);
        }

        void Check(string quantity, string limit, Tensor theirs, Tensor ours, string detail = "") =>
            table.Check($"{baseName}/{name}", quantity, Fixtures.MaxDifference(theirs, ours), tolerance.GetProperty(limit).GetDouble(), detail);
    }

    [Theory]
    [MemberData(nameof(SupportedCases))]
    public void Folder_OfPeft_SurvivesLoadAndSaveByteForByte(string baseName, string name)
    {
        using var folder = new TemporaryFolder();
        using var model = PeftBase.Load(baseName);
        using var adapted = new AdaptedModel(model.Model);
        var original = Fixtures.Case(Variants, baseName, name);
        using (var state = PeftFolder.Read(original))
        {
            adapted.Add(name, state);
        }

        using (var state = adapted.ToState(name))
        {
            PeftFolder.Write(folder.Path, state);
        }

        Assert.Equal(File.ReadAllText(Path.Combine(original, PeftFolder.ConfigName)), File.ReadAllText(folder.In(PeftFolder.ConfigName)));
        Assert.Equal(File.ReadAllBytes(Path.Combine(original, PeftFolder.WeightsName)), File.ReadAllBytes(folder.In(PeftFolder.WeightsName)));
    }

    /// <summary>A new adapter with the settings that upstream was given, where its file only has what they came to: "all-linear" leaves out the head.</summary>
    [Fact]
    public void AllLinear_OnLanguageModels_MeansWhatPeftMadeOfIt()
    {
        var cases = Supported().Where(static c => c.Name.EndsWith("all-linear", StringComparison.Ordinal)).ToList();
        Assert.True(cases.Count > 0 || !Fixtures.IsWhole, "No case with all linear layers was found.");
        foreach (var (baseName, name) in cases)
        {
            using var model = PeftBase.Load(baseName);
            using var adapted = new AdaptedModel(model.Model);
            using var generator = new Generator(1);
            adapted.Add(name, new LoraConfig { TargetModules = ModuleSelection.AllLinear }, generator);
            Assert.Equal(AdaptedModules(baseName, name), LowRankPaths(adapted, name));
        }
    }

    /// <summary>Adapters that are not of a supported kind are refused by what their settings name, never loaded in part.</summary>
    [Fact]
    public void Folder_OfAnotherKind_IsRefusedByName()
    {
        var others = Cases().Except(Supported()).Where(static c => Kind(c.Base, c.Name) is not null).ToList();

        Assert.NotEmpty(others);
        Assert.All(others, static c =>
        {
            var path = Path.Combine(Fixtures.Case(Variants, c.Base, c.Name), PeftFolder.ConfigName);
            var config = PythonJson.ParseObject(File.ReadAllText(path), path);
            var message = Assert.Throws<InvalidDataException>(() => LoraConfig.FromPeftJson(config)).Message;
            Assert.Contains($"peft_type: got {config["peft_type"]!.ToJsonString()}", message);
        });
    }

    [Fact]
    public void Cases_OfTheFolder_AreRunOrNamedWithAReason()
    {
        var supported = Supported().Select(static c => $"{c.Base}/{c.Name}").ToHashSet(StringComparer.Ordinal);
        var unknown = Cases()
            .Where(c => !supported.Contains($"{c.Base}/{c.Name}") && !Later.ContainsKey($"{c.Base}/{c.Name}") && !Later.ContainsKey(Kind(c.Base, c.Name) ?? ""))
            .Select(static c => $"{c.Base}/{c.Name}")
            .Concat(Directory.GetDirectories(Fixtures.Case(Variants))
                .Select(static folder => Path.GetFileName(folder)!)
                .Where(static name => !PeftBase.Names.Contains(name) && !Later.ContainsKey(name)));
        Assert.Empty(unknown);
        Assert.Equal(["gpt2", "llama", "stack"], PeftBase.Names.Intersect(["gpt2", "llama", "stack"]));
        Assert.Empty(Fixtures.IsWhole ? Required.Except(supported) : []);
    }

    private static IEnumerable<(string Base, string Name)> Supported() => Cases().Where(static c => Kind(c.Base, c.Name) is "LORA" or "LOHA" or "LOKR");

    private static IEnumerable<(string Base, string Name)> Cases() =>
        from baseName in PeftBase.Names
        from folder in Directory.GetDirectories(Fixtures.Case(Variants, baseName)).Order(StringComparer.Ordinal)
        let name = Path.GetFileName(folder)!
        where name != "base"
        select (Base: baseName, Name: name);

    /// <summary>PEFT's name of a case's method, or <see langword="null"/> if it is not a PEFT folder.</summary>
    private static string? Kind(string baseName, string name)
    {
        var folder = Fixtures.Case(Variants, baseName, name);
        return PeftFolder.IsAt(folder)
            ? PythonJson.ParseObject(File.ReadAllText(Path.Combine(folder, PeftFolder.ConfigName)), folder)["peft_type"]!.ToString()
            : null;
    }

    private static IEnumerable<string> AdaptedModules(string baseName, string name) =>
        Fixtures.Json(Variants, baseName, name, "case.json").GetProperty("adapted_modules").EnumerateArray()
            .Select(static path => path.GetString()!)
            .Order(StringComparer.Ordinal);

    private static IEnumerable<string> LowRankPaths(AdaptedModel adapted, string name) =>
        adapted.GetLayers(name).Where(static layer => layer is LowRankLayer or DoraLayer).Select(static layer => layer.Path).Order(StringComparer.Ordinal);
}
