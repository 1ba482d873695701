using LoraNotebooks.Models.Language;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Adapters;

/// <summary>A base model of the peft-variants cases with the inputs that all of its cases share: the stack of layers, or a causal language model.</summary>
internal sealed class PeftBase : IDisposable
{
    private const string Variants = "peft-variants";

    private readonly Func<(Tensor Output, Tensor Loss)> _run;

    private PeftBase(nn.Module model, Func<(Tensor Output, Tensor Loss)> run) => (Model, _run) = (model, run);

    public nn.Module Model { get; }

    /// <summary>The bases by name: the folders with a model in them.</summary>
    public static IReadOnlyList<string> Names { get; } =
        [.. Directory.GetDirectories(Fixtures.Case(Variants))
            .Where(static folder => Directory.Exists(Path.Combine(folder, "base")))
            .Select(static folder => Path.GetFileName(folder)!)
            .Order(StringComparer.Ordinal)];

    public static PeftBase Load(string name)
    {
        var inputs = Fixtures.Tensors(Variants, name, "inputs.safetensors");
        if (!Fixtures.Json(Variants, name, "base", "config.json").TryGetProperty("model_type", out _))
        {
            var stack = StackModel.Load();
            return new PeftBase(stack, () =>
            {
                var output = stack.call(inputs["ids"], inputs["img"]);
                return (output, (output - inputs["target"]).square().mean());
            });
        }

        var model = CausalLanguageModel.FromFolder(Fixtures.Case(Variants, name, "base"));
        return new PeftBase(model, () =>
        {
            var mask = inputs["attention_mask"];
            var logits = model.Logits(inputs["input_ids"], mask);
            return (logits * mask.unsqueeze(-1), CausalLanguageModel.Loss(logits, inputs["labels"])); // Upstream's file has zeros at padding.
        });
    }

    /// <summary>The output for the base's inputs, and the loss.</summary>
    public (Tensor Output, Tensor Loss) Run() => _run();

    public void Dispose() => Model.Dispose();
}
