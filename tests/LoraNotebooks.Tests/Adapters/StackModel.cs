using System.Text.Json;
using System.Text.RegularExpressions;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace LoraNotebooks.Tests.Adapters;

/// <summary>
/// The small network of the peft-variants/stack cases: an embedding, three convolutions and three linear layers. Sizes come from
/// base/config.json, strides and paddings from the sentence there that describes the forward.
/// </summary>
internal sealed partial class StackModel : Module<Tensor, Tensor, Tensor>
{
    private readonly Module<Tensor, Tensor> emb;
    private readonly Module<Tensor, Tensor> conv1;
    private readonly Module<Tensor, Tensor> conv2;
    private readonly Module<Tensor, Tensor> conv1x1;
    private readonly Module<Tensor, Tensor> lin1;
    private readonly Module<Tensor, Tensor> lin2;
    private readonly Module<Tensor, Tensor> head;

    private StackModel(JsonElement config)
        : base(nameof(StackModel))
    {
        var shapes = config.GetProperty("shapes").EnumerateObject()
            .ToDictionary(p => p.Name, p => p.Value.EnumerateArray().Select(size => size.GetInt64()).ToArray());
        var convolutions = ConvolutionWords().Matches(config.GetProperty("forward").GetString()!)
            .ToDictionary(match => match.Groups["name"].Value, match => match.Groups["words"].Value);
        emb = Embedding(shapes["emb.weight"][0], shapes["emb.weight"][1]);
        (conv1, conv2, conv1x1) = (Convolution("conv1"), Convolution("conv2"), Convolution("conv1x1"));
        (lin1, lin2, head) = (Line("lin1"), Line("lin2"), Line("head"));
        RegisterComponents();

        Module<Tensor, Tensor> Line(string name) => Linear(shapes[$"{name}.weight"][1], shapes[$"{name}.weight"][0], shapes.ContainsKey($"{name}.bias"));

        Module<Tensor, Tensor> Convolution(string name)
        {
            var shape = shapes[$"{name}.weight"];
            return Conv2d(
                shape[1],
                shape[0],
                (shape[2], shape[3]),
                stride: (Number("stride", 1), Number("stride", 1)),
                padding: (Number("pad", 0), Number("pad", 0)),
                bias: shapes.ContainsKey($"{name}.bias"));

            long Number(string word, long otherwise) =>
                Regex.Match(convolutions[name], $@"\b{word}(\d+)") is { Success: true } match ? long.Parse(match.Groups[1].Value) : otherwise;
        }
    }

    public static StackModel Load()
    {
        Fixtures.Case("peft-variants", "stack", "base");
        var model = new StackModel(Fixtures.Json("peft-variants", "stack", "base", "config.json"));
        var (missing, unexpected) = model.load_state_dict(Fixtures.Tensors("peft-variants", "stack", "base", "model.safetensors"));
        Assert.Empty(missing.Concat(unexpected));
        return model;
    }

    public override Tensor forward(Tensor ids, Tensor img)
    {
        using var scope = NewDisposeScope();
        var e = emb.call(ids).mean([1]);
        var h = functional.silu(conv1.call(img));
        h = functional.silu(conv2.call(h));
        h = conv1x1.call(h).mean([2, 3]);
        var x = cat([e, h], 1);
        x = functional.gelu(lin1.call(x));
        x = lin2.call(x).tanh();
        return head.call(x).MoveToOuterDisposeScope();
    }

    [GeneratedRegex(@"(?<name>conv\w+): (?<words>[^;.]*)")]
    private static partial Regex ConvolutionWords();
}
