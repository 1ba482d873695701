using LoraNotebooks.Adapters;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Models;
using LoraNotebooks.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Diffusion;

public sealed class WeightsHashTests : IDisposable
{
    private readonly TemporaryFolder folder = new();
    private readonly StableDiffusionPipeline pipeline = TinyPipeline.Create();

    public void Dispose()
    {
        pipeline.Dispose();
        folder.Dispose();
    }

    [Fact]
    public void HashWeights_SavedAndLoaded_AreTheSameWhateverTheLayout()
    {
        using var xl = TinyPipeline.CreateXL();
        pipeline.Save(folder.In("saved"));
        using var loaded = StableDiffusionPipeline.FromFolder(folder.In("saved"));
        Layers.ChannelsLast(pipeline.Vae);

        Assert.NotEqual(loaded.Vae.get_parameter("decoder.conv_out.weight")!.stride(), pipeline.Vae.get_parameter("decoder.conv_out.weight")!.stride());
        Assert.Equal(["unet", "vae", "text_encoder"], pipeline.HashWeights().Keys);
        Assert.All(pipeline.HashWeights().Values, static hash => Assert.Equal(64, hash.Length));
        Assert.Equal(pipeline.HashWeights(), loaded.HashWeights());
        Assert.Equal(["unet", "vae", "text_encoder", "text_encoder_2"], xl.HashWeights().Keys);
    }

    [Fact]
    public void HashWeights_ChangedInMemory_ChangeForThatNetworkAlone()
    {
        var before = pipeline.HashWeights();
        var all = new List<string> { before["unet"] };
        using (var lora = StableDiffusionLora.Create(pipeline, "lora", new LoraConfig { Rank = 1, Alpha = 1, TargetModules = ["to_q"] }, null, seed: 1))
        {
            using var noGradient = no_grad();
            lora.UNetParameters.ToList().ForEach(static parameter => parameter.fill_(0.1f));
            Assert.Equal(before, pipeline.HashWeights());
            lora.Merge();
            all.Add(pipeline.HashWeights()["unet"]);
            Assert.Equal((before["vae"], before["text_encoder"]), (pipeline.HashWeights()["vae"], pipeline.HashWeights()["text_encoder"]));
        }

        Assert.Equal(before, pipeline.HashWeights());
        using (no_grad())
        {
            var bias = pipeline.UNet.get_parameter("conv_out.bias")!;
            bias[0].add_(1);
            all.Add(pipeline.HashWeights()["unet"]);
        }

        pipeline.UNet.to(ScalarType.BFloat16);
        all.Add(pipeline.HashWeights()["unet"]);
        Assert.Equal(all.Count, all.Distinct().Count());
    }
}
