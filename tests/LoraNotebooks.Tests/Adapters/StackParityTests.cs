using LoraNotebooks.Adapters;
using LoraNotebooks.Formats;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Adapters;

/// <summary>LoRA against huggingface/peft: outputs, losses, gradients and merged weights of the peft-variants/stack cases.</summary>
[Trait("Category", "Parity")]
public sealed class StackParityTests
{
    [Theory]
    [InlineData("lora")]
    [InlineData("rslora")]
    [InlineData("rank_alpha_pattern")]
    [InlineData("lora_bias")]
    [InlineData("bias-all")]
    [InlineData("bias-lora_only")]
    [InlineData("modules_to_save")]
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
            var parameter = adapted.NamedParameters(name).Single(p => p.Name == key["grad.base_model.model.".Length..].Replace(".modules_to_save", "")).Parameter;
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
    [InlineData("lora")]
    [InlineData("rank_alpha_pattern")]
    [InlineData("bias-lora_only")]
    [InlineData("modules_to_save")]
    public void Configuration_OfPeft_SurvivesLoadAndSaveToTheLetter(string name)
    {
        var text = File.ReadAllText(Path.Combine(Fixtures.Case("peft-variants", "stack", name), PeftFolder.ConfigName));

        var config = LoraConfig.FromPeftJson(PythonJson.ParseObject(text, name));

        Assert.Equal(text, PeftFolder.Text(config.ToPeftJson()));
    }

    private static void Close(Tensor expected, Tensor actual, System.Text.Json.JsonElement tolerance, string key)
    {
        var (difference, limit) = (Fixtures.MaxDifference(expected, actual), tolerance.GetProperty(key).GetDouble());
        Assert.True(difference <= limit, $"{key}: difference {difference:E2}, expected at most {limit:E0}");
    }
}
