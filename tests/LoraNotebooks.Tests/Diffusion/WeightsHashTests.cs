using LoraNotebooks.Adapters;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Models;
using LoraNotebooks.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Diffusion;

public sealed class WeightsHashTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly StableDiffusionPipeline _pipeline = TinyPipeline.Create();

    public void Dispose()
    {
        _pipeline.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public void HashWeights_SavedAndLoaded_AreTheSameWhateverTheLayout()
    {
        using var xl = TinyPipeline.CreateXL();
        _pipeline.Save(_folder.In("saved"));
        using var loaded = StableDiffusionPipeline.FromFolder(_folder.In("saved"));
        Layers.ChannelsLast(_pipeline.Vae);

        Assert.NotEqual(loaded.Vae.get_parameter("decoder.conv_out.weight")!.stride(), _pipeline.Vae.get_parameter("decoder.conv_out.weight")!.stride());
        Assert.Equal(["unet", "vae", "text_encoder"], _pipeline.HashWeights().Keys);
        Assert.All(_pipeline.HashWeights().Values, static hash => Assert.Equal(64, hash.Length));
        Assert.Equal(_pipeline.HashWeights(), loaded.HashWeights());
        Assert.Equal(["unet", "vae", "text_encoder", "text_encoder_2"], xl.HashWeights().Keys);
    }

    [Fact]
    public void HashWeights_ChangedInMemory_ChangeForThatNetworkAlone()
    {
        var before = _pipeline.HashWeights();
        var all = new List<string> { before["unet"] };
        using (var lora = StableDiffusionLora.Create(_pipeline, "lora", new LoraConfig { Rank = 1, Alpha = 1, TargetModules = ["to_q"] }, null, seed: 1))
        {
            using var noGradient = no_grad();
            lora.UNetParameters.ToList().ForEach(static parameter => parameter.fill_(0.1f));
            Assert.Equal(before, _pipeline.HashWeights());
            lora.Merge();
            all.Add(_pipeline.HashWeights()["unet"]);
            Assert.Equal((before["vae"], before["text_encoder"]), (_pipeline.HashWeights()["vae"], _pipeline.HashWeights()["text_encoder"]));
        }

        Assert.Equal(before, _pipeline.HashWeights());
        using (no_grad())
        {
            var bias = _pipeline.UNet.get_parameter("conv_out.bias")!;
            bias[0].add_(1);
            all.Add(_pipeline.HashWeights()["unet"]);
        }

        _pipeline.UNet.to(ScalarType.BFloat16);
        all.Add(_pipeline.HashWeights()["unet"]);
        Assert.Equal(all.Count, all.Distinct().Count());
    }
}
