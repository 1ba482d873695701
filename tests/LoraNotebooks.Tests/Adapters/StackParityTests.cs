using LoraNotebooks.Adapters;
using LoraNotebooks.Formats;
using LoraNotebooks.Tests.Models;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Adapters;

/// <summary>LoRA against huggingface/peft: outputs, losses, gradients and merged weights of the peft-variants/stack cases.</summary>
[Trait("Category", "Parity")]
public sealed class StackParityTests
{
    /// <summary>Every case of the kinds LoRA, LoHa and LoKr.</summary>
    public static TheoryData<string> SupportedCases { get; } = new(
        Directory.GetDirectories(Fixtures.Case("peft-variants", "stack"))
            .Where(static folder => PeftFolder.IsAt(folder) && PythonJson.ParseObject(File.ReadAllText(Path.Combine(folder, PeftFolder.ConfigName)), folder)["peft_type"]!.ToString() is "LORA" or "LOHA" or "LOKR")
            .Select(static folder => Path.GetFileName(folder)!).Order(StringComparer.Ordinal));

    [Theory]
    [MemberData(nameof(SupportedCases))]
    public void Adapter_LoadedFromPeft_GivesPeftsOutputsGradientsAndMergedWeights(string name)
    {
        using var scope = NewDisposeScope();
        var folder = Fixtures.Case("peft-variants", "stack", name);
        var tolerance = Fixtures.Json("peft-variants", "stack", name, "case.json").GetProperty("tolerance");
        var inputs = Fixtures.Tensors("peft-variants", "stack", "inputs.safetensors");
        var expected = Fixtures.Tensors("peft-variants", "stack", name, "expected.safetensors");
        using var model = StackModel.Load();
        using var adapted = new AdaptedModel(model);
        using var state = PeftFolder.Read(folder);
        adapted.Add(name, state);

        var output = model.call(inputs["ids"], inputs["img"]);
        var loss = (output - inputs["target"]).square().mean();
        loss.backward();
        Close(expected["output"], output, tolerance, "output");
        Close(expected["loss"], loss, tolerance, "output");

        var gradients = expected.Where(pair => pair.Key.StartsWith("grad.", StringComparison.Ordinal)).ToList();
        Assert.Equal(gradients.Count, adapted.NamedParameters(name).Count());
        foreach (var (key, gradient) in gradients)
        {
            var parameter = adapted.NamedParameters(name).Single(p => p.Name == key["grad.base_model.model.".Length..].Replace(".modules_to_save", "").Replace("magnitude_vector.weight", "magnitude_vector")).Parameter;
            Close(gradient, parameter.grad!, tolerance, "grad");
        }

        using var noGrad = no_grad();
        adapted.Merge();
        Close(expected["merged.output"], model.call(inputs["ids"], inputs["img"]), tolerance, "merged");
        foreach (var (key, weight) in expected.Where(pair => pair.Key.StartsWith("merged_weight.", StringComparison.Ordinal)))
        {
            Close(weight, model.get_parameter(key["merged_weight.".Length..])!, tolerance, "merged");
        }
    }

    [Theory]
    [MemberData(nameof(SupportedCases))]
    public void Folder_OfPeft_SurvivesLoadAndSaveByteForByte(string name)
    {
        using var folder = new TemporaryFolder();
        using var model = StackModel.Load();
        using var adapted = new AdaptedModel(model);
        var original = Fixtures.Case("peft-variants", "stack", name);
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

    /// <summary>Adapters that are not of a supported kind are refused by what their settings name, never loaded in part.</summary>
    [Fact]
    public void Folder_OfAnotherKind_IsRefusedByName()
    {
        var others = Directory.GetDirectories(Fixtures.Case("peft-variants", "stack")).Where(static folder => PeftFolder.IsAt(folder)).Select(static folder => Path.GetFileName(folder)!).Except(SupportedCases.Select(static (object[] row) => (string)row[0])).ToList();

        Assert.NotEmpty(others);
        Assert.All(others, static name =>
        {
            var path = Path.Combine(Fixtures.Case("peft-variants", "stack", name), PeftFolder.ConfigName);
            var config = PythonJson.ParseObject(File.ReadAllText(path), path);
            var message = Assert.Throws<InvalidDataException>(() => LoraConfig.FromPeftJson(config)).Message;
            Assert.Contains($"peft_type: got {config["peft_type"]!.ToJsonString()}", message);
        });
    }

    private static void Close(Tensor expected, Tensor actual, System.Text.Json.JsonElement tolerance, string key)
    {
        var (difference, limit) = (Fixtures.MaxDifference(expected, actual), tolerance.GetProperty(key).GetDouble());
        Assert.True(difference <= limit, $"{key}: difference {difference:E2}, expected at most {limit:E0}");
    }
}
