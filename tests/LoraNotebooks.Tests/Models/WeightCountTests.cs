using LoraNotebooks.Models;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Models.Language;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Models;

public sealed class WeightCountTests
{
    [Theory]
    [InlineData(1, false, 2)]
    [InlineData(3, true, 3)]
    public void Of_UNetConfig_IsWhatTheNetworkHas(int layers, bool linear, int heads)
    {
        var config = TinyModels.UNet with
        {
            LayersPerBlock = layers,
            TransformerLayersPerBlock = layers,
            UseLinearProjection = linear,
            AttentionHeadDim = heads,
            OnlyCrossAttention = new[] { true, false },
        };
        using var scope = NewDisposeScope();
        using var network = new UNet2DConditionModel(config);
        Assert.Equal(Weights(network), WeightCount.Of(config));
    }

    [Theory]
    [InlineData(1, true)]
    [InlineData(3, false)]
    public void Of_AutoencoderConfig_IsWhatTheNetworkHas(int layers, bool extras)
    {
        var config = TinyModels.Vae with { LayersPerBlock = layers, UseQuantConv = extras, UsePostQuantConv = extras, MidBlockAddAttention = extras };
        using var scope = NewDisposeScope();
        using var network = new AutoencoderKL(config);
        Assert.Equal(Weights(network), WeightCount.Of(config));
    }

    [Fact]
    public void Of_TextConfig_IsWhatTheNetworkHas()
    {
        var config = new ClipTextConfig { VocabSize = 50, HiddenSize = 6, IntermediateSize = 10, NumHiddenLayers = 3, NumAttentionHeads = 2 };
        using var scope = NewDisposeScope();
        using var network = new ClipTextModel(config);
        Assert.Equal(Weights(network), WeightCount.Of(config));
    }

    [Fact]
    public void Of_StableDiffusionsConfig_IsItsKnownSize() =>
        Assert.Equal(859_520_964, WeightCount.Of(new UNetConfig { CrossAttentionDim = 768 }));

    private static double Weights(nn.Module network) => network.parameters().Sum(static parameter => (double)parameter.numel());
}
