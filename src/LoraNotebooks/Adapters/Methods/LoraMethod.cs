using System.Text.Json.Nodes;
using LoraNotebooks.Adapters.Tools;
using LoraNotebooks.Formats;
using LoraNotebooks.Tensors;
using LoraNotebooks.Tensors.Convolutions;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace LoraNotebooks.Adapters.Methods;

/// <summary>LoRA, of convolutions also with the kernel in a core of its own (<see cref="LoconTuckerLayer"/>).</summary>
public sealed record LoraMethod : AdapterMethod
{
    /// <inheritdoc/>
    public override string Name => "Lora";

    /// <inheritdoc/>
    public override LoraDialect Dialect => Names;

    private static LoraDialect Names { get; } = new("LORA", "lora",
    [
        new("lora_A.weight", "lora_B.weight", FactorFacts.TellsRank | FactorFacts.SpansInputs) { Kohya = "lora_down.weight" },
        new("lora_B.weight", "lora_A.weight") { Kohya = "lora_up.weight" },
        new("lora_B.bias") { Kohya = null },
        new("lora_embedding_A", "lora_embedding_B", FactorFacts.TellsRank) { Kohya = null },
        new("lora_embedding_B", "lora_embedding_A") { Kohya = null },
        new("lora_mid.weight", Facts: FactorFacts.IsCore | FactorFacts.IsNotPefts),
    ]);

    /// <inheritdoc/>
    public override HonouredSettings Honours => HonouredSettings.Dropout | HonouredSettings.LoraBias | HonouredSettings.RsLora | HonouredSettings.Initialization
        | HonouredSettings.Dora | HonouredSettings.EffectiveConv2d | HonouredSettings.NormBound | HonouredSettings.LoraPlus;

    /// <inheritdoc/>
    public override bool FormsUpdate => false;

    /// <inheritdoc/>
    public override string AlphaKey => "lora_alpha";

    /// <inheritdoc/>
    public override LowRankLayer Create(AdapterSite site)
    {
        ArgumentNullException.ThrowIfNull(site);
        return site.Layer switch
        {
            _ when site.Layout.HasCore => new LoconTuckerLayer(site.Layer, site.Layout, site.Generator),
            Conv2dLayer convolution => new LoraConv2d(convolution, site.Layout, site.Config, site.Generator),
            EmbeddingLayer embedding => new LoraEmbedding(embedding, site.Layout, site.Config, site.Generator),
            _ => new LoraLinear(site.Layer, site.Layout, site.Config, site.Generator),
        };
    }

    /// <inheritdoc/>
    public override double Norm(UpdateNorm update)
    {
        ArgumentNullException.ThrowIfNull(update);
        return update.Find("lora_mid.weight") is { } core
            ? UpdateNorm.OfRows([UpdateNorm.Tucker(core, update.Matrix("lora_B.weight")?.t(), update.Matrix("lora_A.weight"))])
            : update.OfThinProduct();
    }

    /// <inheritdoc/>
    public override string? WhyNot(WeightLayer layer) => null;

    /// <summary>PEFT's names of B: lora_B.weight, lora_B.bias, lora_embedding_B.</summary>
    /// <param name="name">The weight's name.</param>
    public override bool IsB(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        return name.Contains("lora_B", StringComparison.Ordinal) || name.Contains("lora_embedding_B", StringComparison.Ordinal);
    }

    /// <inheritdoc/>
    public override IEnumerable<(string Key, JsonNode? Value)> Fields(LoraConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        return
        [
            ("lora_dropout", PythonJson.Float(config.Dropout)),
            ("bias", config.Bias switch { BiasTraining.All => "all", BiasTraining.LoraOnly => "lora_only", _ => "none" }),
            ("lora_bias", config.UseLoraBias),
            ("use_rslora", config.UseRsLora),
            ("use_dora", config.UseDora),
            ("fan_in_fan_out", config.FanInFanOut),
        ];
    }

    /// <inheritdoc/>
    public override IEnumerable<(string Key, JsonNode? Value)> FieldsBeside(LoraConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        return [(LoraConfig.InitKey, config.Initialization == LoraInitialization.Gaussian ? "gaussian" : true)];
    }
}

/// <summary>
/// LoRA: ΔW = s·B·A with A of shape r×in and B of shape out×r, so r·(in + out) numbers train in place of in·out. B = 0 at the start,
/// so the model begins as it was; the output gains s·B·(A·x), which costs two thin products and never forms ΔW.
/// </summary>
/// <remarks>Source: Hu et al. 2021 (arXiv:2106.09685), section 4.1; huggingface/peft, tuners/lora/layer.py.</remarks>
internal abstract class LoraLayer : LowRankLayer
{
    private readonly double _dropout;
    private readonly Generator _dropoutGenerator;

    protected LoraLayer(WeightLayer baseLayer, LayerLayout layout, LoraConfig config, Generator generator)
        : base(baseLayer, layout)
    {
        _dropout = config.Dropout;
        using var seed = randint(long.MaxValue, 1, ScalarType.Int64, generator: generator);

        // A model without memory, of which only sizes are asked, has no random numbers of its own.
        var device = baseLayer.Weight.device;
        _dropoutGenerator = new Generator((ulong)seed.item<long>(), device.type == DeviceType.META ? CPU : device);
    }

    /// <summary>A.</summary>
    public Parameter A => Parameters[NameOfA];

    /// <summary>B.</summary>
    public Parameter B => Parameters[NameOfB];

    protected virtual string NameOfA => "lora_A.weight";

    protected virtual string NameOfB => "lora_B.weight";

    /// <summary>b, the bias of B, where the configuration asks for one.</summary>
    protected Parameter? BiasOfB => Parameters.GetValueOrDefault("lora_B.bias");

    /// <summary>Both A and B by the factor's root.</summary>
    /// <inheritdoc/>
    public override bool ScaleUpdate(double factor)
    {
        A.Times_(Math.Sqrt(factor));
        B.Times_(Math.Sqrt(factor));
        return true;
    }

    /// <summary>Δb = s·b.</summary>
    public override Tensor? BiasDelta() => BiasOfB is { } bias ? bias.Times(Scale) : null;

    internal override void SeedDropout(long seed) => _dropoutGenerator.manual_seed(seed);

    /// <summary>
    /// Draws A and sets B (and its bias) to zero. All sizes of A but the first make n, the inputs of one output; B's first size is the number of outputs.
    /// </summary>
    protected void Create(LoraConfig config, long[] shapeOfA, long[] shapeOfB, Generator generator, Device device)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        RequireHeld(NameOfA, shapeOfA);
        RequireHeld(NameOfB, shapeOfB);
        var A = empty(shapeOfA);
        if (config.Initialization == LoraInitialization.Gaussian)
        {
            A.normal_(0, 1.0 / Rank, generator);
        }
        else
        {
            // He's bound √(6/((1 + a²)·n)) with a = √5.
            var n = shapeOfA[1..].Aggregate(1L, static (product, size) => product * size);
            A.uniform_(-1 / Math.Sqrt(n), 1 / Math.Sqrt(n), generator);
        }

        Register(NameOfA, A, device);
        Register(NameOfB, zeros(shapeOfB), device);
        if (config.UseLoraBias)
        {
            Register("lora_B.bias", zeros(shapeOfB[0]), device);
        }
    }

    /// <summary>Zeroes inputs with probability p and scales the others by 1/(1 − p), in training.</summary>
    protected internal override Tensor Dropout(Tensor x)
    {
        if (!Training || _dropout == 0)
        {
            return x;
        }

        var keep = empty_like(x).bernoulli_(1 - _dropout, _dropoutGenerator);
        return x * keep.Over_(1 - _dropout);
    }

    protected override void Dispose(bool disposing)
    {
        _dropoutGenerator.Dispose();
        base.Dispose(disposing);
    }
}

/// <summary>LoRA beside a linear layer: A is [r, in], B is [out, r], whichever way the layer keeps W.</summary>
internal sealed class LoraLinear : LoraLayer
{
    public LoraLinear(WeightLayer baseLayer, LayerLayout layout, LoraConfig config, Generator generator)
        : base(baseLayer, layout, config, generator)
    {
        var W = baseLayer.Weight;
        Create(config, [Rank, W.size(1 - baseLayer.OutputAxis)], [W.size(baseLayer.OutputAxis), Rank], generator, W.device);
    }

    /// <summary>ΔW = s·B·A, or its transpose where W is kept so.</summary>
    public override Tensor WeightDelta()
    {
        using var scope = NewDisposeScope();
        return (BaseLayer.OutputAxis == 0 ? B.matmul(A) : A.t().matmul(B.t())).Times(Scale).MoveToOuterDisposeScope();
    }

    /// <summary>y + w·s·B·(A·dropout(x)), rows of x and y being the vectors.</summary>
    public override Tensor Add(Tensor y, Tensor x, double weight)
    {
        using var scope = NewDisposeScope();
        var h = nn.functional.linear(Dropout(x), A.to(x.dtype)).view(-1, Rank);
        var rows = y.view(-1, y.size(-1));
        var s = (float)(weight * Scale);

        // The sum is bound by memory, so the product is accumulated onto y. In place saves a pass, but inside a recorded graph an
        // in-place write through a view makes autograd copy the whole gradient; there a fresh sum is the faster one.
        var sum = y.requires_grad ? rows.addmm(h, B.to(y.dtype).t(), alpha: s) : rows.addmm_(h, B.to(y.dtype).t(), alpha: s);
        if (BiasOfB is { } bias)
        {
            sum = sum.Plus(bias.to(y.dtype), times: s);
        }

        return sum.view(y.shape).MoveToOuterDisposeScope();
    }
}

/// <summary>LoRA beside a 2D convolution: A is [r, in/groups, kh, kw] and moves as the base does, B is [out, r/groups, 1, 1].</summary>
/// <remarks>With groups, A and B are grouped like W, so that the update can be merged; upstream leaves A whole there and cannot merge.</remarks>
internal sealed class LoraConv2d : LoraLayer
{
    private readonly Conv2dLayer _baseLayer;

    public LoraConv2d(Conv2dLayer baseLayer, LayerLayout layout, LoraConfig config, Generator generator)
        : base(baseLayer, layout, config, generator)
    {
        _baseLayer = baseLayer;
        var groups = baseLayer.Groups;
        if (Rank % groups != 0)
        {
            throw new ArgumentException(
                $"'{Path}' is a convolution with {groups} groups: got rank {Rank}, expected a multiple of {groups}. "
                + "Give it one with RankPattern or exclude it.");
        }

        var W = baseLayer.Weight;
        Create(config, [Rank, .. W.shape[1..]], [W.size(0), Rank / groups, 1, 1], generator, W.device);
    }

    /// <summary>ΔW = s·B·A, group by group, a kernel being a row of in/groups·kh·kw numbers.</summary>
    public override Tensor WeightDelta()
    {
        using var scope = NewDisposeScope();
        var a = A.view(_baseLayer.Groups, Rank / _baseLayer.Groups, -1);
        var b = B.view(_baseLayer.Groups, -1, Rank / _baseLayer.Groups);
        return b.matmul(a).Times(Scale).view(_baseLayer.Weight.shape).MoveToOuterDisposeScope();
    }

    /// <summary>y + w·s·(B ∗ (A ∗ dropout(x))).</summary>
    public override Tensor Add(Tensor y, Tensor x, double weight)
    {
        using var scope = NewDisposeScope();
        var h = _baseLayer.Apply(Dropout(x), A.to(x.dtype));
        var part = CheckedConvolution.Apply(h, B.to(x.dtype), BiasOfB?.to(x.dtype), ConvolutionGeometry.Square() with { Groups = _baseLayer.Groups });

        // In place: a convolution with a frozen weight needs its input for the backward pass, not its output.
        y.Plus_(part, times: weight * Scale);
        return y;
    }
}

/// <summary>LoRA beside an embedding: A is [r, vocabulary], B is [dimension, r]. Here A starts at zero and B ~ N(0, 1).</summary>
internal sealed class LoraEmbedding : LoraLayer
{
    private readonly EmbeddingLayer _baseLayer;

    public LoraEmbedding(EmbeddingLayer baseLayer, LayerLayout layout, LoraConfig config, Generator generator)
        : base(baseLayer, layout, config, generator)
    {
        _baseLayer = baseLayer;
        using var scope = NewDisposeScope();
        var W = baseLayer.Weight;
        RequireHeld(NameOfA, [Rank, W.size(0)]);
        RequireHeld(NameOfB, [W.size(1), Rank]);
        Register(NameOfA, zeros(Rank, W.size(0)), W.device);
        Register(NameOfB, randn([W.size(1), Rank], generator: generator), W.device);
    }

    protected override string NameOfA => "lora_embedding_A";

    protected override string NameOfB => "lora_embedding_B";

    /// <summary>ΔW = s·(B·A)ᵀ.</summary>
    public override Tensor WeightDelta()
    {
        using var scope = NewDisposeScope();
        return A.t().matmul(B.t()).Times(Scale).MoveToOuterDisposeScope();
    }

    /// <summary>y + w·s·Aᵀ[ids]·Bᵀ.</summary>
    public override Tensor Add(Tensor y, Tensor x, double weight)
    {
        using var scope = NewDisposeScope();
        var h = _baseLayer.Rows(A.t(), x).to(y.dtype);
        y.Plus_(h.matmul(B.to(y.dtype).t()), times: weight * Scale);
        return y;
    }
}
