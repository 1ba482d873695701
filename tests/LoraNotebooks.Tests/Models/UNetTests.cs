using LoraNotebooks.Models;
using LoraNotebooks.Models.Diffusion;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Models;

public sealed class UNetTests
{
    [Theory]
    [InlineData(8, 8)]
    [InlineData(7, 5)]
    public void Forward_AnySize_KeepsTheLatentsShape(int height, int width)
    {
        using var scope = NewDisposeScope();
        using var unet = new UNet2DConditionModel(TinyModels.UNet, new Generator(1));
        var (sample, time, context) = Inputs(height, width);
        Assert.Equal([2, 4, height, width], unet.call(sample, time, context).shape);
    }

    [Fact]
    public void Forward_OneTimestepForAll_EqualsOnePerSample()
    {
        using var scope = NewDisposeScope();
        using var unet = new UNet2DConditionModel(TinyModels.UNet, new Generator(1));
        var (sample, _, context) = Inputs();
        var each = unet.call(sample, tensor(new long[] { 7, 7 }), context);
        Assert.Equal(0, Fixtures.MaxDifference(each, unet.call(sample, tensor(7L), context)));
        Assert.NotEqual(0, Fixtures.MaxDifference(each, unet.call(sample, tensor(8L), context)));
    }

    [Fact]
    public void Forward_EveryLayer_RunsItsHookOnce()
    {
        using var scope = NewDisposeScope();
        using var unet = new UNet2DConditionModel(TinyModels.UNet, new Generator(1));
        var calls = new Dictionary<string, int>();
        foreach (var (path, module) in unet.named_modules())
        {
            if (module is Linear or Conv2d or GroupNorm or LayerNorm)
            {
                calls[path] = 0;
                ((nn.Module<Tensor, Tensor>)module).register_forward_hook((_, _, y) =>
                {
                    calls[path]++;
                    return y;
                });
            }
        }

        var (sample, time, context) = Inputs();
        unet.call(sample, time, context);
        Assert.All(calls, call => Assert.True(call.Value == 1, $"{call.Key} ran {call.Value} times"));
    }

    [Fact]
    public void Backward_EveryParameter_HasAGradient()
    {
        using var scope = NewDisposeScope();
        using var unet = new UNet2DConditionModel(TinyModels.UNet, new Generator(1));
        var (sample, time, context) = Inputs();
        unet.call(sample, time, context).square().mean().backward();
        Assert.All(unet.named_parameters(), p =>
        {
            Assert.True(p.parameter.grad is not null, $"{p.name} has no gradient");
            Assert.True(p.parameter.grad.abs().max().item<float>() > 0, $"{p.name} has a gradient of zero");
        });
    }

    [Fact]
    public void ForwardAndBackward_ManyTimes_LeaveNoTensorBehind()
    {
        using var unet = new UNet2DConditionModel(TinyModels.UNet, new Generator(1));
        void Step()
        {
            using var scope = NewDisposeScope();
            var (sample, time, context) = Inputs();
            unet.call(sample, time, context).square().mean().backward();
            foreach (var parameter in unet.parameters())
            {
                parameter.grad = null;
            }
        }

        Step();
        var statistics = DisposeScopeManager.Statistics;
        var before = statistics.ThreadTotalLiveCount;
        for (var i = 0; i < 10; i++)
        {
            Step();
        }

        Assert.Equal(before, statistics.ThreadTotalLiveCount);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Forward_BFloat16_IsCloseToFloat32(bool upcast)
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        using var unet = new UNet2DConditionModel(TinyModels.UNet with { UpcastAttention = upcast }, new Generator(1));
        var (sample, time, context) = Inputs();
        var exact = unet.call(sample, time, context);
        unet.to(ScalarType.BFloat16);
        var rough = unet.call(sample.to(ScalarType.BFloat16), time, context.to(ScalarType.BFloat16));
        Assert.Equal(ScalarType.BFloat16, rough.dtype);
        Assert.InRange(Fixtures.RelativeDifference(exact, rough), 1e-6, 0.05);
    }

    [Fact]
    public void Constructor_SameSeed_GivesTheSameWeightsWithinTheirBounds()
    {
        using var scope = NewDisposeScope();
        using var first = new UNet2DConditionModel(TinyModels.UNet, new Generator(3));
        using var second = new UNet2DConditionModel(TinyModels.UNet, new Generator(3));
        using var other = new UNet2DConditionModel(TinyModels.UNet, new Generator(4));
        var name = "down_blocks.0.resnets.0.conv1.weight";
        Assert.All(first.state_dict(), pair => Assert.Equal(0, Fixtures.MaxDifference(pair.Value, second.state_dict()[pair.Key])));
        Assert.NotEqual(0, Fixtures.MaxDifference(first.state_dict()[name], other.state_dict()[name]));

        // U(−b, b) with b = 1/√fan_in, fan_in = 8·3·3.
        Assert.InRange(first.state_dict()[name].abs().max().item<float>(), 0.9 / Math.Sqrt(72), 1 / Math.Sqrt(72));
    }

    [Fact]
    public void Constructor_NormLayers_StartAtOneAndZero()
    {
        using var scope = NewDisposeScope();
        using var unet = new UNet2DConditionModel(TinyModels.UNet);
        using var vae = new AutoencoderKL(TinyModels.Vae);
        foreach (var (name, parameter) in unet.named_parameters().Concat(vae.named_parameters()).Where(p => p.name.Contains("norm", StringComparison.Ordinal)))
        {
            var expected = full_like(parameter, name.EndsWith("weight", StringComparison.Ordinal) ? 1 : 0);
            Assert.True(Fixtures.MaxDifference(expected, parameter) == 0, name);
        }
    }

    [Fact]
    public void Constructor_ListsPerLevel_ShapeEachLevel()
    {
        var config = TinyModels.UNet with
        {
            DownBlockTypes = ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
            UpBlockTypes = ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
            TransformerLayersPerBlock = new[] { 1, 2 },
            AttentionHeadDim = new[] { 2, 3 },
            LayersPerBlock = new[] { 2, 1 },
            OnlyCrossAttention = new[] { true, false },
            UseLinearProjection = true,
            DownsamplePadding = 0,
        };
        using var scope = NewDisposeScope();
        using var unet = new UNet2DConditionModel(config, new Generator(1));
        var keys = unet.state_dict();
        Assert.Contains("down_blocks.0.resnets.1.conv1.weight", keys.Keys);
        Assert.DoesNotContain("down_blocks.1.resnets.1.conv1.weight", keys.Keys);
        Assert.Contains("up_blocks.1.resnets.2.conv1.weight", keys.Keys);
        Assert.Contains("mid_block.attentions.0.transformer_blocks.1.attn1.to_q.weight", keys.Keys);
        Assert.DoesNotContain("down_blocks.0.attentions.0.transformer_blocks.1.attn1.to_q.weight", keys.Keys);
        Assert.Equal([8, 6], keys["down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k.weight"].shape);
        Assert.Equal([12, 12], keys["down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_k.weight"].shape);
        Assert.Equal([8, 8], keys["down_blocks.0.attentions.0.proj_in.weight"].shape);
        var (sample, time, context) = Inputs();
        Assert.Equal([2, 4, 8, 8], unet.call(sample, time, context).shape);
    }

    [Fact]
    public void Attention_LongSequence_EqualsTheFormula()
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        var generator = new Generator(1);
        const int heads = 2;
        Tensor Draw(int length) => randn([2, length, 8], generator: generator);
        foreach (var (queries, keys) in ((int, int)[])[(256, 256), (16, 5)])
        {
            var (q, k, v) = (Draw(queries), Draw(keys), Draw(keys));
            var parts = Enumerable.Range(0, heads).Select(head =>
            {
                Tensor Head(Tensor x) => x.narrow(-1, head * 4, 4);
                return Head(q).matmul(Head(k).transpose(1, 2)).div(Math.Sqrt(4)).softmax(-1).matmul(Head(v));
            });
            Assert.InRange(Fixtures.MaxDifference(cat([.. parts], -1), ScaledDotProduct.Attend(q, k, v, heads, upcast: false)), 0, 1e-5);
        }
    }

    [Fact]
    public void Forward_WrongShapes_SayWhatIsExpected()
    {
        using var scope = NewDisposeScope();
        using var unet = new UNet2DConditionModel(TinyModels.UNet, new Generator(1));
        var (sample, time, context) = Inputs();
        Assert.Contains(
            "[2, 3, 8, 8], expected [N, 4, H, W]",
            Assert.Throws<ArgumentException>(() => unet.call(sample.narrow(1, 0, 3), time, context)).Message,
            StringComparison.Ordinal);
        Assert.Contains("[3], expected [2]", Assert.Throws<ArgumentException>(() => unet.call(sample, zeros(3), context)).Message, StringComparison.Ordinal);
        Assert.Contains(
            "[2, 5, 7], expected [2, S, 6]",
            Assert.Throws<ArgumentException>(() => unet.call(sample, time, zeros(2, 5, 7))).Message,
            StringComparison.Ordinal);
        Assert.Contains(
            "[], expected [N, 4, H, W]",
            Assert.Throws<ArgumentException>(() => unet.call(tensor(1f), time, context)).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void Timesteps_OddDimensionAndSineFirst_FollowTheFormula()
    {
        using var scope = NewDisposeScope();
        var features = Timesteps.Embed(tensor(2.5f).unsqueeze(0), 5, flipSinToCos: false, frequencyShift: 1).data<float>().ToArray();
        double[] expected = [Math.Sin(2.5), Math.Sin(2.5e-4), Math.Cos(2.5), Math.Cos(2.5e-4), 0];
        for (var i = 0; i < expected.Length; i++)
        {
            Assert.Equal(expected[i], features[i], 1e-6);
        }
    }

    private static (Tensor Sample, Tensor Time, Tensor Context) Inputs(int height = 8, int width = 8)
    {
        var generator = new Generator(2);
        return (
            randn([2, 4, height, width], generator: generator),
            tensor(new long[] { 3, 900 }),
            randn([2, 5, 6], generator: generator));
    }
}
