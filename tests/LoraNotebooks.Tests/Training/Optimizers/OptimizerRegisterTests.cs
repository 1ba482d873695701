using LoraNotebooks.Training;
using LoraNotebooks.Training.Optimizers;

namespace LoraNotebooks.Tests.Training.Optimizers;

/// <summary>Which optimizers settings can name, and what is told of those that they cannot.</summary>
public sealed class OptimizerRegisterTests
{
    [Fact]
    public void Names_OfTheLibrary_AreThoseOfAllItsOptimizers()
    {
        var all = typeof(Optimizer).Assembly.GetTypes().Where(static type => type.IsSubclassOf(typeof(Optimizer)) && !type.IsAbstract).ToList();

        Assert.All(all, static type => Assert.Equal(type, OptimizerRegister.Find(Optimizer.NameOf(type))));
        Assert.All(
            all,
            static type => Assert.True(type.IsSealed && type.GetConstructor(Type.EmptyTypes) is not null, $"{type} is not sealed, or has no usual options."));
        Assert.NotEmpty(all);
    }

    [Fact]
    public void Add_OneOfAUser_LetsSettingsNameIt()
    {
        OptimizerRegister.Add<MomentumOptimizer>();
        OptimizerRegister.Add<MomentumOptimizer>();
        var config = new DiffusionTrainingConfig { Optimizer = new MomentumOptimizer { Momentum = 0.25 } };

        var json = config.ToJson();

        Assert.Equal("""{"Name":"Momentum","Momentum":0.25}""", json["Optimizer"]!.ToJsonString());
        Assert.Equal(config.Optimizer, TrainingConfig.FromJson<DiffusionTrainingConfig>(json).Optimizer);
        Assert.Contains("Momentum", OptimizerRegister.Names);
        Assert.Equal(
            ["Optimizer.Momentum: got 1, expected 0 or more and less than 1"],
            (config with { Optimizer = new MomentumOptimizer { Momentum = 1 } }).Validate());
        Assert.Equal(
            """Optimizer: {"Name":"AdamW","Beta1":0.9,"Beta2":0.999,"Epsilon":1E-08}, here {"Name":"Momentum","Momentum":0.25}""",
            Assert.Single(config.DifferencesInNumbers(new DiffusionTrainingConfig().ToJson())));
    }

    [Fact]
    public void Add_NameOfTheLibrarys_IsRefused()
    {
        var message = Assert.Throws<ArgumentException>(OptimizerRegister.Add<AdamW>).Message;

        Assert.Equal("Got an optimizer called AdamW, expected another name: the library has one of that name. Rename AdamW.", message);
        Assert.Equal(typeof(AdamWOptimizer), OptimizerRegister.Find("AdamW"));
        OptimizerRegister.Add<AdamWOptimizer>();
    }

    [Fact]
    public void MetadataText_Options_TellsThoseThatAreNotTheUsualOnes()
    {
        Assert.Equal("LoraNotebooks.Training.AdamWOptimizer(weight_decay=1E-05)", new AdamWOptimizer().MetadataText(1e-5));
        Assert.Equal(
            "LoraNotebooks.Training.AdamWOptimizer(weight_decay=0,beta2=0.99,epsilon=1E-06)",
            new AdamWOptimizer { Beta2 = 0.99, Epsilon = 1e-6 }.MetadataText(0));
        Assert.Equal(
            "LoraNotebooks.Tests.Training.Optimizers.MomentumOptimizer(weight_decay=0,momentum=0.5)",
            new MomentumOptimizer { Momentum = 0.5 }.MetadataText(0));
        Assert.Equal("AdamW(weight_decay=0)", new AdamW().MetadataText(0));
        Assert.Equal("WithoutUsual(weight_decay=0,size=3)", new WithoutUsual(3).MetadataText(0));
        Assert.Equal(("AdamW", "WithoutUsual", "Optimizer"), (new AdamW().Name, new WithoutUsual(1).Name, Optimizer.NameOf(typeof(Optimizer))));
    }

    private sealed record AdamW : Optimizer
    {
        public override IEnumerable<StateTensor> States(IReadOnlyList<long[]> shapes) => [];

        public override void Update(OptimizerStep step) => throw new NotSupportedException();
    }

    private sealed record WithoutUsual(int Size) : Optimizer
    {
        public override IEnumerable<StateTensor> States(IReadOnlyList<long[]> shapes) => [];

        public override void Update(OptimizerStep step) => throw new NotSupportedException();
    }
}
