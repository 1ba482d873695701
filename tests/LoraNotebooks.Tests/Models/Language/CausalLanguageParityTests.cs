using LoraNotebooks.Formats;
using LoraNotebooks.Models.Language;
using LoraNotebooks.Tests.Formats;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Models.Language;

/// <summary>
/// Causal language models against transformers: logits, hidden states and loss, with and without padding and positions. The models of peft-variants come with
/// the repository; those of llm-tiny run from the folder of LORANOTEBOOKS_FIXTURES. Their tokenizers and generated texts (gen.*) are for
/// later: neither is built yet.
/// </summary>
[Trait("Category", "Parity")]
public sealed class CausalLanguageParityTests(ParityTable table) : IClassFixture<ParityTable>
{
    private const string Tiny = "llm-tiny";

    /// <summary>Every model of llm-tiny.</summary>
    private static readonly string[] TinyNames = Directory.Exists(Path.Combine(Fixtures.Root, Tiny))
        ? [.. Directory.GetDirectories(Fixtures.Case(Tiny)).Select(static folder => Path.GetFileName(folder)!)]
        : [];

    /// <summary>Model folder, folder of the inputs.</summary>
    public static TheoryData<string, string> Cases { get; } = Fixtures.Rows(
    [
        .. TinyNames.Order(StringComparer.Ordinal).Select(static name => ($"{Tiny}/{name}", $"{Tiny}/{name}")),
        .. Adapters.PeftBase.Names
            .Where(static name => Fixtures.Json("peft-variants", name, "base", "config.json").TryGetProperty("model_type", out _))
            .Select(static name => ($"peft-variants/{name}/base", $"peft-variants/{name}")),
    ]);

    [Theory]
    [MemberData(nameof(Cases))]
    public void Logits_HiddenStates_Loss_EqualUpstream(string folder, string inputFolder)
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        var inputs = Fixtures.Tensors(inputFolder, "inputs.safetensors");
        var expected = Fixtures.Tensors(folder, "expected.safetensors");
        var (logitsLimit, lossLimit) = Limits(folder, inputFolder);
        using var model = CausalLanguageModel.FromFolder(Fixtures.Case(folder));
        var (ids, mask) = (inputs["input_ids"], inputs["attention_mask"]);
        var real = mask.unsqueeze(-1); // Upstream's files have zeros at padding.
        var logits = model.Logits(ids, mask);
        var states = model.HiddenStates(ids, mask);

        foreach (var (key, theirs) in expected.Where(static pair => !pair.Key.StartsWith("gen", StringComparison.Ordinal)))
        {
            var (quantity, ours, limit) = key switch
            {
                "output" or "logits" => ("logits", logits * real, logitsLimit),
                "logits_explicit_position_ids" => ("logits with positions", model.Logits(ids, mask, inputs["position_ids"]) * real, logitsLimit),
                "logits_nomask" => ("logits without mask", model.call(ids[..1]), logitsLimit),
                "text.logits" => ("logits of text", model.call(inputs["text.input_ids"]), logitsLimit),
                "loss" => ("loss", CausalLanguageModel.Loss(logits, inputs["labels"]), lossLimit),
                _ when key.StartsWith("hidden_states.", StringComparison.Ordinal) =>
                    ("hidden states", states[int.Parse(key.Split('.')[1])] * real, logitsLimit),
                _ => throw new InvalidOperationException($"{folder}: nothing here computes '{key}'."),
            };
            table.Check(folder, quantity, Fixtures.MaxDifference(theirs, ours), limit, key);
        }

        Assert.Equal(model.Config.NumHiddenLayers + 1, states.Count);
    }

    /// <summary>Only the keys of rotary positions may be more: both forms are written, so that every version of transformers finds its own.</summary>
    [Theory]
    [MemberData(nameof(Cases))]
    public void Save_FolderOfUpstream_GivesItsLayout(string folder, string inputFolder)
    {
        _ = inputFolder;
        using var saved = new TemporaryFolder();
        using var scope = NewDisposeScope();
        using var model = CausalLanguageModel.FromFolder(Fixtures.Case(folder));
        model.Save(saved.Path);
        Assert.DoesNotContain(
            FolderLayout.Differences(Fixtures.Case(folder), saved.Path, static file => file is "config.json" or "model.safetensors"),
            static difference => !difference.Contains("rope_", StringComparison.Ordinal));

        using var original = SafetensorsFile.Open(Path.Combine(Fixtures.Case(folder), "model.safetensors"));
        using var again = SafetensorsFile.Open(saved.In("model.safetensors"));
        Assert.All(original.Tensors.Keys, key => Assert.Equal(0, Fixtures.MaxDifference(original.Load(key), again.Load(key))));
    }

    [Fact]
    public void Cases_OfTheFolder_AreAllThere() =>
        Assert.Empty(Fixtures.IsWhole ? new[] { "gpt2", "llama-tied", "llama-untied", "llama3-rope", "qwen2" }.Except(TinyNames) : []);

    /// <summary>The limits of a model; those of adapters on it, where it has none of its own.</summary>
    private static (double Logits, double Loss) Limits(string folder, string inputFolder)
    {
        if (Fixtures.Json(folder, "case.json").TryGetProperty("tolerance", out var own))
        {
            return (own.GetProperty("logits").GetDouble(), own.GetProperty("loss").GetDouble());
        }

        var limit = Directory.GetDirectories(Fixtures.Case(inputFolder))
            .Select(static path =>
                Fixtures.Json(path, "case.json").TryGetProperty("tolerance", out var other)
                    ? other.GetProperty("output").GetDouble()
                    : double.PositiveInfinity).Min();
        return (limit, limit);
    }
}
