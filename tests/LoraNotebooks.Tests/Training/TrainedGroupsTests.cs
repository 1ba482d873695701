using LoraNotebooks.Adapters;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Tests.Adapters;
using LoraNotebooks.Tests.Diffusion;
using LoraNotebooks.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Training;

/// <summary>What the optimizer of a run trains, how large it may grow, and what becomes of the frozen weights beside it.</summary>
public sealed class TrainedGroupsTests
{
    [Theory]
    [InlineData(null)]
    [InlineData(16d)]
    public void Groups_OfBothNetworks_HoldEachParameterOnceWithItsRateAndDecay(double? ratio)
    {
        using var pipeline = TinyPipeline.Create();
        var config = new DiffusionTrainingConfig
        {
            UNetLearningRate = 1e-3,
            TextEncoderLearningRate = 2e-4,
            WeightDecay = 0.3,
            LoraPlusLrRatio = ratio,
            UNetLora = new LoraConfig { Rank = 1, Alpha = 1, UseLoraBias = true, TargetModules = ["to_q", "to_out.0"] },
            TextEncoderLora = new LoraConfig { Rank = 1, Alpha = 1, TargetModules = ["q_proj", "token_embedding"] },
            Schedule = new LearningRateSchedule { Kind = ScheduleKind.Linear, Warmup = 2 },
        };
        using var lora = StableDiffusionLora.Create(pipeline, "a", config.UNetLora, config.TextEncoderLora, seed: 1);

        var groups = new TrainedGroups(config, DiffusionTask.NetworksOf(lora, config));

        string[] names = ratio is null ? ["unet", "text_encoder"] : ["unet", "unet, B", "text_encoder", "text_encoder, B"];
        double[] rates = ratio is null ? [1e-3, 2e-4] : [1e-3, 1.6e-2, 2e-4, 3.2e-3];
        Assert.Equal(names, groups.Groups.Select(group => group.Name));
        Assert.All(groups.Groups, group => Assert.Equal(0.3, group.WeightDecay));

        // Half of the warm-up of 2 steps; three quarters of the 8 after it.
        Assert.Equal((rates.Length, rates.Length), (groups.Rates(1, 10).Count, groups.Rates(8, 10).Count));
        Assert.All(rates.Zip(groups.Rates(1, 10)), pair => Assert.Equal(0.5 * pair.First, pair.Second, 1e-15));
        Assert.All(rates.Zip(groups.Rates(8, 10)), pair => Assert.Equal(0.25 * pair.First, pair.Second, 1e-15));
        Assert.Equal((0.5e-3, 1e-4), (groups.NetworkRates(1, 10)["UNet"], groups.NetworkRates(1, 10)["text encoder"]));

        foreach (var network in lora.Networks)
        {
            var expected = network.Model.NamedParameters("a").ToLookup(
                pair => ratio is not null && (
                    pair.Name.Contains("lora_B", StringComparison.Ordinal) || pair.Name.Contains("embedding_B", StringComparison.Ordinal)));
            Assert.Equal(expected[false].Select(pair => pair.Parameter), groups.Groups.Single(group => group.Name == network.Name).Parameters);
            Assert.Equal(
                expected[true].Select(pair => pair.Parameter),
                groups.Groups.SingleOrDefault(group => group.Name == network.Name + ", B")?.Parameters ?? []);
        }

        Assert.Contains(lora.Networks[0].Model.NamedParameters("a"), pair => pair.Name.EndsWith("lora_B.bias", StringComparison.Ordinal));
        Assert.Contains(lora.Networks[1].Model.NamedParameters("a"), pair => pair.Name.EndsWith("lora_embedding_B", StringComparison.Ordinal));
    }

    [Fact]
    public void Groups_FrozenParameters_AreLeftOut()
    {
        using var pipeline = TinyPipeline.Create();
        var config = new DiffusionTrainingConfig { UNetLora = new LoraConfig { Rank = 1, Alpha = 1, TargetModules = ["to_q"] } };
        using var lora = StableDiffusionLora.Create(pipeline, "a", config.UNetLora, null, seed: 1);
        lora.UNetParameters[0].requires_grad = false;

        var groups = new TrainedGroups(config, DiffusionTask.NetworksOf(lora, config));

        Assert.Equal(lora.UNet!.NamedParameters("a").Skip(1).Select(pair => pair.Parameter), Assert.Single(groups.Groups).Parameters);
        Assert.Equal(["UNet"], groups.NetworkRates(0, 1).Keys);
    }

    [Fact]
    public void LayersOf_Parameters_NamesLayersOfWhichAllAreAmongThem()
    {
        using var pipeline = TinyPipeline.Create();
        var config = new DiffusionTrainingConfig
        {
            TextEncoderLearningRate = 1,
            UNetLora = new LoraConfig { Rank = 1, Alpha = 1, TargetModules = ["to_q"] },
            TextEncoderLora = new LoraConfig { Rank = 1, Alpha = 1, TargetModules = ["fc1"] },
        };
        using var lora = StableDiffusionLora.Create(pipeline, "a", config.UNetLora, config.TextEncoderLora, seed: 1);
        var groups = new TrainedGroups(config, DiffusionTask.NetworksOf(lora, config));
        var (unet, text) = (lora.UNet!.GetLayers("a"), lora.TextEncoder!.GetLayers("a"));

        Assert.Empty(groups.LayersOf([]));
        Assert.Empty(groups.LayersOf([unet[0].Parameters["lora_A.weight"], text[1].Parameters["lora_B.weight"]]));
        Assert.Equal(
            [$"unet.{unet[1].Path}", "text_encoder.text_model.encoder.layers.1.mlp.fc1"],
            groups.LayersOf([.. text[1].Parameters.Values, unet[0].Parameters["lora_A.weight"], .. unet[1].Parameters.Values]));

        // What does not train at all is not untrained.
        Assert.All(unet[1].Parameters.Values, parameter => parameter.requires_grad = false);
        Assert.Equal(["text_encoder.text_model.encoder.layers.1.mlp.fc1"], groups.LayersOf([.. text[1].Parameters.Values, .. unet[1].Parameters.Values]));
    }

    [Fact]
    public void MaxNorm_Layers_ShareTheFactorBetweenAAndB()
    {
        using var scope = NewDisposeScope();
        using var network = new TinyNetwork();
        using var model = new AdaptedModel(network);
        using var generator = new Generator(1);
        model.Add("plain", new LoraConfig { Rank = 1, Alpha = 3, TargetModules = ["to_q"] }, generator);
        model.Add("hada", new LoraConfig { Rank = 1, Alpha = 3, Method = AdapterMethod.Loha, TargetModules = ["to_q"] }, generator);
        using var noGradient = no_grad();
        foreach (var (_, parameter) in model.NamedParameters("plain").Concat(model.NamedParameters("hada")))
        {
            parameter.fill_(0.5f);
        }

        // ΔW is [8, 6] of 3·0.25: its norm is 0.75·√48, and of LoHa's (0.25)²·3·√48.
        var bound = 0.25 * 0.75 * Math.Sqrt(48);
        Assert.Equal(0, MaxNormRegularization.Apply(model.GetLayers("plain"), 4.0001 * bound));
        Assert.Equal(1, MaxNormRegularization.Apply(model.GetLayers("plain").Concat(model.GetLayers("hada")), bound));

        Assert.All(model.NamedParameters("plain"), pair => Assert.All(PlainTraining.Numbers(pair.Parameter), value => Assert.Equal(0.25, value, 1e-6)));
        Assert.All(model.NamedParameters("hada"), pair => Assert.All(PlainTraining.Numbers(pair.Parameter), value => Assert.Equal(0.5, value)));
        Assert.Equal(0, MaxNormRegularization.Apply(model.GetLayers("hada"), 1e-3));

        // ΔW has one number, 3·0.5·0.5, and the bound is it.
        foreach (var (_, parameter) in model.NamedParameters("plain"))
        {
            parameter.zero_();
            parameter[0, 0] = 0.5;
        }

        Assert.Equal(0, MaxNormRegularization.Apply(model.GetLayers("plain"), 0.75));
        Assert.Equal(1, MaxNormRegularization.Apply(model.GetLayers("plain"), 0.74));
    }

    [Fact]
    public void LoweredPrecision_Networks_AreRoundedMeanwhileAndComeBackBitForBit()
    {
        using var scope = NewDisposeScope();
        using var network = new TinyNetwork();
        using var half = new TinyNetwork();
        half.to(ScalarType.BFloat16);
        var before = network.state_dict().ToDictionary(pair => pair.Key, pair => PlainTraining.Numbers(pair.Value));
        var live = DisposeScopeManager.Statistics.ThreadTotalLiveCount;

        var lowered = new LoweredPrecision(ScalarType.BFloat16, network, half);

        Assert.All(network.parameters().Concat(half.parameters()), parameter => Assert.Equal(ScalarType.BFloat16, parameter.dtype));
        Assert.NotEqual(before["to_q.weight"], PlainTraining.Numbers(network.state_dict()["to_q.weight"]));
        Assert.All(
            before["to_q.weight"].Zip(PlainTraining.Numbers(network.state_dict()["to_q.weight"])),
            pair => Assert.Equal(pair.First, pair.Second, Math.Abs(pair.First) / 256));

        // What has the type already is not kept, and so not given back.
        using (no_grad())
        {
            half.get_parameter("to_out.bias")!.fill_(3);
        }

        lowered.Dispose();
        Assert.All(PlainTraining.Numbers(half.get_parameter("to_out.bias")!), value => Assert.Equal(3, value));
        Assert.All(network.state_dict(), pair => Assert.Equal(before[pair.Key], PlainTraining.Numbers(pair.Value)));
        Assert.All(network.parameters(), parameter => Assert.Equal(ScalarType.Float32, parameter.dtype));
        Assert.All(half.parameters(), parameter => Assert.Equal(ScalarType.BFloat16, parameter.dtype));
        Assert.Equal(live, DisposeScopeManager.Statistics.ThreadTotalLiveCount);

        // Once is enough: what happens to the weights afterwards stays.
        using (no_grad())
        {
            network.get_parameter("to_q.weight")!.fill_(2);
        }

        lowered.Dispose();
        Assert.All(PlainTraining.Numbers(network.get_parameter("to_q.weight")!), value => Assert.Equal(2, value));
    }
}
